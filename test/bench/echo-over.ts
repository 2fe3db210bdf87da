import { createServer } from 'node:net';
import { isMainThread, type MessagePort, workerData } from 'node:worker_threads';
import { rpc } from '../../adapters/transport/rpc/transport.ts';
import { PortStream } from '../../adapters/transport/thread/port-stream.ts';

/*
 * The serving end of the bench `thread`: echoes over rpc, as a process behind the Unix socket that its argument names,
 * or as a thread behind the port that it was given.
 */

const identity = { introduction: { host: 'bench', process: String(process.pid), contracts: {} }, offers: [], secret: null };
const serving = rpc.serve(identity, { dispatch: async ({ request }) => ({ value: request }) });

if (isMainThread) {
  createServer((socket) => serving.accept(socket)).listen(process.argv[2], () => process.send!('ready'));
  process.on('disconnect', () => process.exit(0));
} else {
  serving.accept(new PortStream(workerData as MessagePort));
}
