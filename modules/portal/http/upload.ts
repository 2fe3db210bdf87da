import type { IncomingMessage } from 'node:http';
import { Fault } from '../../../src/kernel/fault.ts';

/** For a file of the largest size over a slow line; the server's own time for a request counts as well. */
export const UPLOAD_TIMEOUT_MS = 3_600_000;

/** A file on its way in as the body of a request. */
export interface UploadedFile {
  /** One of the types that the route takes. */
  readonly type: string;
  /** What its sender says of its length, in bytes. */
  readonly length: number | undefined;
  /** To be read once. Fault `cancelled` when the client leaves before its end. */
  readonly content: AsyncIterable<Uint8Array>;
}

/** What has come of a file: nothing is done with it yet. */
export interface KeptFile<B> {
  readonly body: B;
  /** Tells the file from others, for Idempotency-Key. */
  readonly digest: Uint8Array;
  /** Takes it away again. */
  discard(): Promise<void>;
}

/** Fault `invalid`/`content_type_not_supported`. */
export function uploadOf(request: IncomingMessage, types: readonly string[]): UploadedFile {
  const { 'content-type': contentType = '', 'content-encoding': encoding = 'identity', 'content-length': length } = request.headers;
  const [type, ...parameters] = contentType.toLowerCase().split(';').map((part) => part.trim());
  const charset = parameters.find((parameter) => parameter.startsWith('charset='))?.slice('charset='.length).replaceAll('"', '') ?? 'utf-8';
  if (!types.includes(type!) || encoding !== 'identity' || !/^(?:utf-?8|us-ascii)$/.test(charset)) {
    throw new Fault('invalid', `Send the file uncompressed, in UTF-8, with Content-Type: ${types.join(' or ')}.`, { reason: 'content_type_not_supported' });
  }
  return { type: type!, length: length === undefined ? undefined : Number(length), content: contentOf(request) };
}

/** The body, to be read once; whoever stops early leaves the connection to the answer. Fault `cancelled` when the client leaves before its end. */
export async function* contentOf(request: IncomingMessage): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield* request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
  } catch (cause) {
    throw new Fault('cancelled', 'The client left before the whole file had come.', { cause });
  }
}
