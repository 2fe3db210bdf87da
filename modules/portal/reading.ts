import type { IncomingMessage } from 'node:http';
import { Fault } from '../../src/kernel/fault.ts';

/** A body on its way in. */
export interface Reading {
  /** As it came over the wire. Rejects with a Fault. */
  readonly body: Promise<Buffer>;
  /** Stops reading. */
  fail(fault: Fault): void;
}

/**
 * Reads a request's body. `refusal` is asked about each piece before it is kept, and about the length that the request
 * names before anything is read (`piece` 0 then). Fault `cancelled` when the client leaves.
 */
export function readRequest(request: IncomingMessage, refusal: (bytes: number, piece: number) => Fault | undefined): Reading {
  let fail!: (fault: Fault) => void;
  const body = new Promise<Buffer>((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      const fault = refusal(bytes, chunk.length);
      if (fault !== undefined) return fail(fault);
      chunks.push(chunk);
    };
    const settle = (): void => void request.off('data', onData).off('end', onEnd).off('close', onCut);
    const onEnd = (): void => {
      settle();
      resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes));
    };
    const onCut = (): void => fail(new Fault('cancelled', 'The client left before the whole request had come.'));
    fail = (fault) => {
      settle();
      reject(fault);
    };
    // Without a listener a cut connection would end the process.
    request.on('error', () => {});
    request.on('data', onData).on('end', onEnd).on('close', onCut);
    const named = refusal(Number(request.headers['content-length'] ?? 0), 0);
    if (named !== undefined) fail(named);
  });
  return { body, fail };
}
