import { Queue, Worker } from 'bullmq';
import { CALLERS, handling, PAYLOAD, publishing, report } from './drive.mjs';

const connection = { host: '127.0.0.1', port: Number(process.argv[2]), maxRetriesPerRequest: null };
const JOBS = 30_000;
const queue = new Queue('bench', { connection, defaultJobOptions: { removeOnComplete: true } });
const publish = await publishing(JOBS, () => queue.add('job', PAYLOAD));
const consume = await handling(JOBS, async (handled) => {
  const worker = new Worker('bench', async () => handled(), { connection, concurrency: CALLERS });
  return () => worker.close();
});
report({ publish, consume });
