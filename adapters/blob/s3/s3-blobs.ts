import type { AwsClient } from 'aws4fetch';
import { Fault } from '../../../src/kernel/fault.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import { blobNotFound, type Blobs, requireKey } from '../../../src/ports/blob.ts';
import type { S3Settings } from './driver.ts';

interface Asked {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE' | 'HEAD';
  /** Null: the bucket itself. */
  readonly key: string | null;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array<ArrayBuffer> | string;
  readonly signal?: AbortSignal;
}

interface Answer {
  readonly response: Response;
  /** To be called with each sign of life, and when there will be no more. */
  readonly alive: () => void;
  readonly over: () => void;
}

/** What a server may be telling of when it says 404 of a request for a key. */
const NO_BUCKET = 'NoSuchBucket';

/**
 * Each blob is an object. What fits into one piece is put at once; more goes up in pieces (multipart upload), which the
 * server shows as an object only when it is told that they are complete.
 */
export class S3Blobs implements Blobs {
  readonly spansHosts = true;
  readonly #settings: S3Settings;
  readonly #life: StartStop;
  #client: AwsClient | undefined;

  constructor(settings: S3Settings) {
    this.#settings = settings;
    const { accessKeyId, secretAccessKey, region } = settings;
    this.#life = new StartStop(
      async () => {
        // With the first server that there is to talk to: few installations have one.
        const { AwsClient: Client } = await import('aws4fetch');
        this.#client = new Client({ accessKeyId, secretAccessKey, region, service: 's3', retries: 0 });
      },
      () => {},
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  async write(key: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<number> {
    this.#require(key);
    const pieces = piecesOf(content, this.#settings.partBytes);
    try {
      const first = await pieces.next();
      if (signal.aborted) throw cancelled(signal);
      const body = first.done === true ? new Uint8Array(0) : first.value;
      if (body.length === this.#settings.partBytes) return await this.#upload(key, body, pieces, signal);
      await this.#ask({ method: 'PUT', key, body, signal });
      return body.length;
    } finally {
      await pieces.return();
    }
  }

  async *read(key: string, signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
    this.#require(key);
    const { response, alive, over } = await this.#send({ method: 'GET', key, signal });
    try {
      if (!response.ok) throw await faultOf(response);
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        // Whoever reads may take their time.
        over();
        yield chunk;
        alive();
      }
    } catch (error) {
      throw signal.aborted ? cancelled(signal) : Fault.is(error) ? error : away(error);
    } finally {
      over();
    }
  }

  async remove(key: string): Promise<void> {
    this.#require(key);
    await this.#ask({ method: 'DELETE', key }).catch((error: unknown) => {
      if (!Fault.is(error) || error.reason !== 'blob_not_found') throw error;
    });
  }

  async check(): Promise<{ ok: boolean; detail: string }> {
    const { endpoint, bucket } = this.#settings;
    try {
      await this.start();
      await this.#ask({ method: 'GET', key: null, query: { 'list-type': '2', 'max-keys': '1' } });
      return { ok: true, detail: `the bucket ${bucket} at ${endpoint} answers and takes the key` };
    } catch (error) {
      return { ok: false, detail: `the bucket ${bucket} at ${endpoint}: ${(error as Error).message}` };
    }
  }

  async #upload(key: string, first: Uint8Array<ArrayBuffer>, rest: AsyncIterable<Uint8Array<ArrayBuffer>>, signal: AbortSignal): Promise<number> {
    const uploadId = element(await this.#ask({ method: 'POST', key, query: { uploads: '' }, signal }), 'UploadId');
    const tags: string[] = [];
    let bytes = 0;
    const send = async (body: Uint8Array<ArrayBuffer>) => {
      const { headers } = await this.#asked({ method: 'PUT', key, query: { partNumber: String(tags.length + 1), uploadId }, body, signal });
      tags.push(headers.get('etag') ?? '');
      bytes += body.length;
    };
    try {
      await send(first);
      for await (const piece of rest) await send(piece);
      const parts = tags.map((tag, at) => `<Part><PartNumber>${at + 1}</PartNumber><ETag>${tag.replaceAll('"', '&quot;')}</ETag></Part>`);
      const completed = await this.#ask({ method: 'POST', key, query: { uploadId }, body: `<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`, signal });
      // The server may answer 200 before it knows, and put the error into the answer.
      if (completed.includes('<Error>')) throw new Fault('unavailable', 'The server for files could not put the pieces together.', { reason: 's3', cause: completed });
      return bytes;
    } catch (error) {
      // Pieces that nobody asks for any more cost room.
      await this.#ask({ method: 'DELETE', key, query: { uploadId } }).catch(() => {});
      throw signal.aborted ? cancelled(signal) : error;
    }
  }

  async #ask(asked: Asked): Promise<string> {
    return (await this.#asked(asked)).text;
  }

  /** The answer, read to its end. */
  async #asked(asked: Asked): Promise<{ readonly headers: Headers; readonly text: string }> {
    const { response, over } = await this.#send(asked);
    try {
      if (!response.ok) throw await faultOf(response);
      return { headers: response.headers, text: await response.text() };
    } catch (error) {
      throw Fault.is(error) ? error : away(error);
    } finally {
      over();
    }
  }

  async #send({ method, key, query = {}, body, signal }: Asked): Promise<Answer> {
    const { endpoint, bucket, prefix, answerTimeoutMs } = this.#settings;
    const url = new URL(`${endpoint.replace(/\/+$/, '')}/${bucket}${key === null ? '' : `/${prefix}${key}`}`);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const silence = new AbortController();
    const late = () => silence.abort(new Fault('unavailable', `The server for files has not answered for ${answerTimeoutMs} ms.`, { reason: 's3' }));
    let timer = setTimeout(late, answerTimeoutMs);
    const over = () => clearTimeout(timer);
    const alive = () => {
      over();
      timer = setTimeout(late, answerTimeoutMs);
    };
    try {
      const signed = await this.#client!.sign(url, { method, ...(body !== undefined && { body }) });
      const response = await fetch(signed, { signal: signal === undefined ? silence.signal : AbortSignal.any([signal, silence.signal]) });
      alive();
      return { response, alive, over };
    } catch (error) {
      over();
      if (signal?.aborted === true) throw cancelled(signal);
      throw Fault.is(error) ? error : away(error);
    }
  }

  #require(key: string): void {
    requireKey(key);
    if (this.#life.state !== 'running') throw new Fault('unavailable', 'The bucket is not open.', { reason: 'stopped', origin: 'unsent' });
  }
}

/** The content in pieces of this size; the last one may be smaller. */
async function* piecesOf(content: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  let piece = new Uint8Array(size);
  let filled = 0;
  for await (let chunk of content) {
    while (chunk.length > 0) {
      const taken = chunk.subarray(0, size - filled);
      piece.set(taken, filled);
      filled += taken.length;
      chunk = chunk.subarray(taken.length);
      if (filled < size) continue;
      yield piece;
      piece = new Uint8Array(size);
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}

/** What the server's answer (XML) says; its words may name keys and stay out of ours. */
async function faultOf(response: Response): Promise<Fault> {
  const text = await response.text().catch(() => '');
  const code = /<Code>([A-Za-z0-9]{1,60})<\/Code>/.exec(text)?.[1] ?? `status ${response.status}`;
  if (response.status === 404 && code !== NO_BUCKET) return blobNotFound();
  if (response.status === 401 || response.status === 403) return new Fault('denied', `The server for files refuses our key (${code}).`, { reason: 's3_denied', details: { remedy: 'Correct accessKeyId and secretAccessKey, and what they may do with the bucket.' } });
  return new Fault('unavailable', `The server for files says ${code}.`, { reason: 's3', details: { remedy: 'Correct endpoint, region and bucket; the server\'s log says more.' } });
}

function element(xml: string, name: string): string {
  const found = new RegExp(`<${name}>([^<]+)</${name}>`).exec(xml)?.[1];
  if (found === undefined) throw new Fault('unavailable', 'The server for files answers in words that are not S3\'s.', { reason: 's3' });
  return found;
}

function away(cause: unknown): Fault {
  return new Fault('unavailable', 'The server for files does not answer.', { reason: 's3', details: { remedy: 'Start it, or correct the endpoint.' }, cause });
}

function cancelled({ reason }: AbortSignal): Fault {
  return Fault.is(reason) ? reason : new Fault('cancelled', 'It was called off.', { reason: 'cancelled' });
}
