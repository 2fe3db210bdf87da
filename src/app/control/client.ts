import { request } from 'node:http';
import { Fault, type FaultRecord } from '../../kernel/fault.ts';
import { controlPath, isAlive } from './socket.ts';

const ANSWER_MS = 60_000;

/** Whether this host runs on this data directory. */
export function isRunning(dataDir: string, host: string): Promise<boolean> {
  return isAlive(controlPath(dataDir, host));
}

/** Asks the host that runs on a data directory. Faults: those of the command; `unavailable`/`host_silent` when nobody answers. */
export function askHost(dataDir: string, host: string, method: 'GET' | 'POST', path: string, input?: unknown, answerMs = ANSWER_MS): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: controlPath(dataDir, host), method, path, headers: { 'content-type': 'application/json' }, signal: AbortSignal.timeout(answerMs) }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', reject);
      response.once('end', () => {
        const value: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
        if (response.statusCode === 200) resolve(value);
        else reject(Fault.fromRecord(value as FaultRecord));
      });
    });
    outgoing.once('error', (error) => reject(new Fault('unavailable', `The host ${host} that runs on ${dataDir} does not answer: ${error.message}.`, { reason: 'host_silent', cause: error })));
    outgoing.end(input === undefined ? undefined : JSON.stringify(input));
  });
}
