import { createServer } from 'node:net';
import { isMainThread, workerData } from 'node:worker_threads';
import { rpc } from '../../adapters/transport/rpc/transport.ts';
import { type StreamEnd, ThreadStream } from '../../adapters/transport/thread/thread-stream.ts';

/*
 * The serving end of the bench `thread`: echoes over rpc, as a process behind the Unix socket that its argument names,
 * or as a thread behind the stream whose end it was given.
 */

const identity = { introduction: { host: 'bench', process: String(process.pid), contracts: {} }, offers: [], secret: null };
const serving = rpc.serve(identity, { dispatch: async ({ request }) => ({ value: request }) });

if (isMainThread) {
  createServer((socket) => serving.accept(socket)).listen(process.argv[2], () => process.send!('ready'));
  process.on('disconnect', () => process.exit(0));
} else {
  serving.accept(new ThreadStream(workerData as StreamEnd));
}
