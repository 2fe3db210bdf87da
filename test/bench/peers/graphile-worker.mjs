import { makeWorkerUtils, run } from 'graphile-worker';
import { CALLERS, handling, PAYLOAD, publishing, report } from './drive.mjs';

const JOBS = 8_000;
const connectionString = process.argv[2];
const utils = await makeWorkerUtils({ connectionString, maxPoolSize: 20 });
await utils.migrate();
const publish = await publishing(JOBS, () => utils.addJob('bench', PAYLOAD));
const quiet = { error: console.error, warn() {}, info() {}, debug() {} };
const { Logger } = await import('graphile-worker');
const consume = await handling(JOBS, async (handled) => {
  const runner = await run({
    connectionString,
    maxPoolSize: 20,
    concurrency: CALLERS,
    noHandleSignals: true,
    logger: new Logger(() => (level, message) => quiet[level]?.(message)),
    preset: { worker: { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
    taskList: { bench: async () => handled() },
  });
  return () => runner.stop();
});
await utils.release();
report({ publish, consume });
