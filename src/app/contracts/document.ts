export type JsonObject = Record<string, unknown>;

/** The parts of an AsyncAPI 3.0 document that are put together name by name. */
export interface Document {
  readonly channels: JsonObject;
  readonly operations: JsonObject;
  readonly components: { readonly messages: JsonObject; readonly schemas: JsonObject };
}

/** To another place in the same document. */
export function ref(...path: readonly string[]): JsonObject {
  return { $ref: `#/${path.map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1')).join('/')}` };
}
