import { PgBoss } from 'pg-boss';
import { handling, PAYLOAD, publishing, report } from './drive.mjs';

const JOBS = 8_000;
const boss = new PgBoss({ connectionString: process.argv[2], max: 20 });
boss.on('error', (error) => console.error(error));
await boss.start();
await boss.createQueue('bench');
const publish = await publishing(JOBS, () => boss.send('bench', PAYLOAD));
/** Its fastest documented way: fetch and complete by batch. */
const consume = await handling(JOBS, async (handled) => {
  let open = true;
  const loop = Promise.all(
    [1, 2, 3, 4].map(async () => {
      while (open) {
        const jobs = await boss.fetch('bench', { batchSize: 100 });
        if (jobs.length === 0) break;
        await boss.complete('bench', jobs.map((job) => job.id));
        jobs.forEach(handled);
      }
    }),
  );
  return async () => {
    open = false;
    await loop;
  };
});
report({ publish, consume });
