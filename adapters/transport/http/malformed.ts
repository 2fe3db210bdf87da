import type { Duplex } from 'node:stream';
import { Fault } from '../../../src/kernel/fault.ts';
import { MAX_HEADER_BYTES } from './limits.ts';
import { PROBLEM_TYPE, problemOf, statusOf } from './problem.ts';

/** What is no HTTP, too large or too slow is told so where it can be told, and cut off. */
export function refuseMalformed(error: NodeJS.ErrnoException, connection: Duplex): void {
  if (!connection.writable || error.code === 'ECONNRESET') return void connection.destroy();
  const record = faultFor(error.code).toRecord();
  const body = JSON.stringify(problemOf(record));
  const head = `HTTP/1.1 ${statusOf(record)} Refused\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n`;
  connection.end(head + body, () => connection.destroy());
}

function faultFor(code: string | undefined): Fault {
  if (code === 'HPE_HEADER_OVERFLOW') return new Fault('invalid', `The headers may take at most ${MAX_HEADER_BYTES} bytes.`, { reason: 'headers_too_large', origin: 'unsent' });
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new Fault('deadline', 'The request took too long to arrive.', { reason: 'request_timeout', origin: 'unsent' });
  return new Fault('invalid', 'This is not an HTTP request.', { reason: 'malformed', origin: 'unsent' });
}
