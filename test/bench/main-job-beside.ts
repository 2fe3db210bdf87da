import { ActiveMqServer } from '../support/activemq.ts';
import { PostgresServer } from '../support/postgres.ts';
import { startSink } from './main-job-load.ts';
import { type MainJobFigures, measureMainJob } from './main-job.ts';
import type { BenchRow } from './report.ts';

const SECONDS = 15;
const ROUNDS = 2;

/** A server of the same machine, and the setting that has Multilith use it. */
interface Used {
  readonly setting: string;
  remove(): Promise<void>;
}

/** The main job in one process whose messages lie on a broker of the same machine. */
export function benchMainJobOnActiveMq(): Promise<BenchRow[]> {
  return beside('main-job-activemq', 'limit: the embedded bus', async () => {
    const broker = await ActiveMqServer.start();
    return { setting: `bus={driver: activemq, port: ${broker.port}}`, remove: () => broker.remove() };
  });
}

/** The main job in one process that stores in PostgreSQL on the same machine. */
export function benchMainJobOnPostgres(): Promise<BenchRow[]> {
  return beside('main-job-postgres', 'limit: SQLite', async () => {
    const server = await new PostgresServer().start();
    return { setting: `storage={default: ${JSON.stringify(server.section)}}`, remove: () => server.remove() };
  });
}

/** With everything embedded and with the server, by turns. */
async function beside(area: string, note: string, use: () => Promise<Used>): Promise<BenchRow[]> {
  const sink = await startSink();
  const embedded: MainJobFigures[] = [];
  const served: MainJobFigures[] = [];
  try {
    for (let round = 0; round < ROUNDS; round++) {
      embedded.push(await measureMainJob(sink.port, SECONDS));
      const used = await use();
      try {
        served.push(await measureMainJob(sink.port, SECONDS, ['--set', used.setting]));
      } finally {
        await used.remove();
      }
    }
  } finally {
    sink.child.kill('SIGKILL');
  }
  const most = (what: keyof MainJobFigures) => Math.max(...served.map((measured) => measured[what]));
  return [
    { name: `${area}.mails`, value: mean(served), unit: '/s', aim: 700, limit: mean(embedded), note },
    { name: `${area}.event-loop-blocked-at-most`, value: most('lagMs'), unit: 'ms', aim: 50, better: 'lower' },
    { name: `${area}.resident-under-load`, value: most('busyMb'), unit: 'MB', aim: 350, better: 'lower', note: 'without the server' },
  ];
}

function mean(figures: readonly MainJobFigures[]): number {
  return figures.reduce((sum, { mails }) => sum + mails, 0) / figures.length;
}
