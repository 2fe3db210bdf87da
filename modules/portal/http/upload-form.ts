import type { IncomingMessage } from 'node:http';
import { Fault } from '../../../src/kernel/fault.ts';
import { contentOf } from './upload.ts';

/** Of a part's headers, and of a field. */
const MOST_TEXT_BYTES = 4_096;
const MOST_FIELDS = 20;

/** A form with a file, as far as the file: fields that stand behind it are not read. */
export interface UploadForm {
  readonly fields: ReadonlyMap<string, string>;
  /** To be read once; whatever its sender calls it. */
  readonly file: AsyncIterable<Uint8Array>;
}

/**
 * Reads a form of the kind `multipart/form-data` (RFC 7578) that a page of ours sends without a script, up to its file.
 * Faults: `invalid`/`content_type_not_supported`, `invalid`/`form_invalid`, `cancelled`.
 */
export async function uploadForm(request: IncomingMessage): Promise<UploadForm> {
  // RFC 2046, 5.1.1: what a boundary may be.
  const boundary = /^multipart\/form-data\s*;.*?\bboundary="?([\w'()+,./:=? -]{1,70})"?\s*(?:;|$)/i.exec(request.headers['content-type'] ?? '')?.[1];
  if (boundary === undefined) throw new Fault('invalid', 'Send the form with a file in it.', { reason: 'content_type_not_supported' });
  const parts = new Parts(contentOf(request), Buffer.from(`\r\n--${boundary}`));
  await parts.text(parts.delimiter);
  const fields = new Map<string, string>();
  for (let read = 0; read < MOST_FIELDS; read++) {
    const headers = await parts.text(END_OF_HEADERS);
    const name = /(?:^|\r\n)content-disposition:\s*form-data;.*?\bname="([^"]*)"/i.exec(headers)?.[1];
    if (name === undefined) throw formInvalid();
    if (/;\s*filename\*?=/i.test(headers)) return { fields, file: parts.last() };
    fields.set(name, await parts.text(parts.delimiter));
  }
  throw formInvalid();
}

const END_OF_HEADERS = Buffer.from('\r\n\r\n');

/** The body between marks. Holds no more than a piece of it and a mark. */
class Parts {
  readonly delimiter: Buffer;
  readonly #chunks: AsyncIterator<Uint8Array>;
  /** The first delimiter stands at the very beginning, without a line end before it. */
  #held: Buffer = Buffer.from('\r\n');

  constructor(content: AsyncIterable<Uint8Array>, delimiter: Buffer) {
    this.#chunks = content[Symbol.asyncIterator]();
    this.delimiter = delimiter;
  }

  /** All up to the mark, and behind the mark. */
  async text(mark: Buffer): Promise<string> {
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of this.#until(mark)) {
      bytes += piece.length;
      if (bytes > MOST_TEXT_BYTES) throw formInvalid();
      pieces.push(piece);
    }
    return Buffer.concat(pieces).toString();
  }

  /** The same for what may be large; what follows is read and thrown away, so that the connection can be used again. */
  async *last(): AsyncGenerator<Uint8Array, void, void> {
    yield* this.#until(this.delimiter);
    while ((await this.#chunks.next()).done !== true);
  }

  async *#until(mark: Buffer): AsyncGenerator<Buffer, void, void> {
    for (;;) {
      const at = this.#held.indexOf(mark);
      // The end of what is held may be the beginning of the mark.
      const end = at < 0 ? Math.max(this.#held.length - mark.length + 1, 0) : at;
      if (end > 0) yield this.#held.subarray(0, end);
      this.#held = this.#held.subarray(at < 0 ? end : at + mark.length);
      if (at >= 0) return;
      const next = await this.#chunks.next();
      if (next.done === true) throw formInvalid();
      this.#held = Buffer.concat([this.#held, next.value]);
    }
  }
}

function formInvalid(): Fault {
  return new Fault('invalid', 'The form could not be read. Go back, reload the page and try again.', { reason: 'form_invalid' });
}
