import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ServerResponse } from 'node:http';

export interface FileAnswer {
  /** Content-Type. */
  readonly type: string;
  /** As the browser is to call it; of plain letters. */
  readonly name: string;
  readonly bytes?: number | null;
  content(signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** Gets ready to answer with a file: what is wrong with it shows before anything has been said. */
export async function fileAnswer({ type, name, bytes, content }: FileAnswer): Promise<(response: ServerResponse) => void> {
  const abort = new AbortController();
  const chunks = content(abort.signal)[Symbol.asyncIterator]();
  const first = await chunks.next();
  const headers = { 'Content-Type': type, 'Content-Disposition': `attachment; filename="${name}"`, 'Cache-Control': 'no-store', ...(bytes != null && { 'Content-Length': bytes }) };
  return (response) => {
    response.writeHead(200, headers);
    // Whoever reads has gone, or the file has: the connection ends short of its length.
    void pipeline(Readable.from(joined(first, chunks)), response)
      .catch(() => response.destroy())
      .finally(() => abort.abort());
  };
}

async function* joined(first: IteratorResult<Uint8Array>, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  try {
    for (let chunk = first; chunk.done !== true; chunk = await rest.next()) yield chunk.value;
  } finally {
    await rest.return?.();
  }
}
