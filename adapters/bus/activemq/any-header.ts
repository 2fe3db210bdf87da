/** stompit's parser of what comes in, as much of it as is set right here. */
interface Parser {
  _headers: object;
  _decode: (text: string) => string;
}

const ESCAPED: Readonly<Record<string, string>> = { '\\r': '\r', '\\n': '\n', '\\c': ':', '\\\\': '\\' };
/** stompit asks the headers themselves whether they have one, which a header of that name must not answer. */
const HEADERS = Object.create(null, { hasOwnProperty: { get: () => Object.prototype.hasOwnProperty, set: () => {} } }) as object;

/**
 * Has stompit's client read whatever headers the broker passes on. A name may be anything that a program has sent, and
 * comes as it was sent. By itself stompit takes one with a backslash that escapes nothing, and one that is
 * `hasOwnProperty`, for the end of the connection; and the message would come again by the next one.
 */
export function readAnyHeader(client: object): void {
  let headers = {};
  // At each frame's beginning stompit sets its headers to none, and with the handshake how it decodes them.
  const own: PropertyDescriptorMap & Record<keyof Parser, PropertyDescriptor> = {
    _headers: { get: () => headers, set: () => (headers = Object.create(HEADERS) as object) },
    _decode: { get: () => decoded, set: () => {} },
  };
  Object.defineProperties((client as { readonly _incoming: Parser })._incoming, own);
}

/** STOMP 1.2, "Value Encoding"; what escapes nothing stands for itself. */
function decoded(text: string): string {
  return text.replaceAll(/\\./g, (sequence) => ESCAPED[sequence] ?? sequence);
}
