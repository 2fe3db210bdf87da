import { ActiveMqServer } from '../support/activemq.ts';
import { startSink } from './main-job-load.ts';
import { type MainJobFigures, measureMainJob } from './main-job.ts';
import type { BenchRow } from './report.ts';

const SECONDS = 15;
const ROUNDS = 2;

/** The main job in one process whose messages lie on a broker of the same machine, and with the embedded bus, by turns. */
export async function benchMainJobOnActiveMq(): Promise<BenchRow[]> {
  const sink = await startSink();
  const figures = { embedded: [] as MainJobFigures[], activemq: [] as MainJobFigures[] };
  try {
    for (let round = 0; round < ROUNDS; round++) {
      figures.embedded.push(await measureMainJob(sink.port, SECONDS));
      const broker = await ActiveMqServer.start();
      try {
        figures.activemq.push(await measureMainJob(sink.port, SECONDS, ['--set', `bus={driver: activemq, port: ${broker.port}}`]));
      } finally {
        await broker.remove();
      }
    }
  } finally {
    sink.child.kill('SIGKILL');
  }
  const { embedded, activemq } = figures;
  const most = (what: keyof MainJobFigures) => Math.max(...activemq.map((measured) => measured[what]));
  return [
    { name: 'main-job-activemq.mails', value: mean(activemq), unit: '/s', aim: 700, limit: mean(embedded), note: 'limit: the embedded bus' },
    { name: 'main-job-activemq.event-loop-blocked-at-most', value: most('lagMs'), unit: 'ms', aim: 50, better: 'lower' },
    { name: 'main-job-activemq.resident-under-load', value: most('busyMb'), unit: 'MB', aim: 350, better: 'lower', note: 'without the broker' },
  ];
}

function mean(figures: readonly MainJobFigures[]): number {
  return figures.reduce((sum, { mails }) => sum + mails, 0) / figures.length;
}
