import { createServer } from 'node:net';
import { z } from 'zod';
import { rpc } from '../../adapters/transport/rpc/transport.ts';
import { command, contract, query } from '../../src/kernel/contract.ts';
import type { Call } from '../../src/kernel/call.ts';
import { newId } from '../../src/kernel/ids.ts';
import { offerOf, Serving } from '../../src/fabric/serve.ts';
import { Target } from '../../src/fabric/target.ts';
import { silentLog } from './context.ts';

/*
 * A host that serves a small contract over rpc on a Unix socket, and stops as a host does when it is told to
 * (SIGTERM): `node till.js <socket>`. Says `ready` when it listens.
 */

export interface Till {
  look(request: { n: number }, call: Call): Promise<{ n: number; process: string }>;
  pay(request: { n: number }, call: Call): Promise<{ n: number; process: string }>;
}
const Asked = z.object({ n: z.int() });
const Told = z.object({ n: z.int(), process: z.string() });
export const till = contract<Till>('till', {
  look: query({ input: Asked, output: Told, timeoutMs: 10_000 }),
  pay: command({ input: Asked, output: Told, timeoutMs: 10_000 }),
});

if (process.argv[1] === import.meta.filename) {
  const self = newId();
  const answer = async ({ n }: { n: number }): Promise<{ n: number; process: string }> => {
    await new Promise((resolve) => setTimeout(resolve, n % 8));
    return { n, process: self };
  };
  const target = new Target(till);
  target.serve({ look: answer, pay: answer });
  const serving = new Serving([target], silentLog);
  const server = rpc.serve({ introduction: { host: 'till', process: self, contracts: { till: till.hash } }, offers: [offerOf(till)], secret: null }, serving);
  const listener = createServer((socket) => server.accept(socket));
  listener.listen(process.argv[2], () => process.stdout.write('ready\n'));
  process.once('SIGTERM', () => {
    listener.close();
    void server.stop(5_000).then(() => process.exit(0));
  });
}
