import { MailServer } from '../support/smtp-server.ts';
import { layouts, type LayoutName, TestSystem } from '../support/topologies.ts';
import { TestWorkspace } from '../support/workspace.ts';
import { mailsPerSecond, prepare, startSink } from './main-job-load.ts';
import type { BenchRow } from './report.ts';

const TIMES = { seconds: 15, warmUpSeconds: 5 };
const RATE = 100;
const LATENCIES = 1_500;
const PEOPLE = 500;
/** The first ones find everything cold. */
const COLD = 300;

/** The main job with each module on its own host, beside the same in one process, on the same cores. */
export async function benchSplit(): Promise<BenchRow[]> {
  const [one, split] = [await measure('one process'), await measure('each module on its own host over rpc')];
  return [
    { name: 'split.mails', value: split.mails, unit: '/s', aim: one.mails / 2, limit: one.mails, note: 'limit: one process' },
    { name: 'split.p99', value: split.p99Ms, unit: 'ms', aim: one.p99Ms * 2, better: 'lower', limit: one.p99Ms, note: `event sent to mail taken, ${RATE}/s; limit: one process` },
  ];
}

async function measure(name: LayoutName): Promise<{ mails: number; p99Ms: number }> {
  return { mails: await throughput(name), p99Ms: await latency(name) };
}

async function throughput(name: LayoutName): Promise<number> {
  const sink = await startSink();
  const system = await TestSystem.start(layouts[name], { env: { MULTILITH_SMTP_URL: `smtp://127.0.0.1:${sink.port}` } });
  try {
    const workspace = await TestWorkspace.create(system);
    return await mailsPerSecond(workspace, await prepare(workspace), TIMES);
  } finally {
    await system.dispose();
    sink.child.kill('SIGKILL');
  }
}

/** From the moment at which an event is sent to the one at which its mail is there, at a rate that leaves room. */
async function latency(name: LayoutName): Promise<number> {
  const server = await MailServer.start();
  const system = await TestSystem.start(layouts[name], { env: { MULTILITH_SMTP_URL: server.url } });
  try {
    const workspace = await TestWorkspace.create(system);
    for (let from = 0; from < PEOPLE; from += 100) await workspace.send(Array.from({ length: 100 }, (_, i) => ({ type: 'identify', userId: `u${from + i}`, traits: { email: `u${from + i}@customer.example` } })));
    await workspace.automation('Policy Renewal Due', await workspace.template({ subject: 'Mail {{ event.number }}', body: '<p>Hello</p>' }));
    const sentAt: number[] = [];
    const tookMs = new Map<number, number>();
    server.onMail = ({ raw }) => {
      const number = Number(/^Subject: Mail (\d+)/m.exec(raw)![1]);
      tookMs.set(number, performance.now() - sentAt[number]!);
    };
    const answers: Promise<Response>[] = [];
    for (let number = 0; number < LATENCIES; number++) {
      sentAt.push(performance.now());
      answers.push(workspace.send([{ type: 'track', userId: `u${number % PEOPLE}`, event: 'Policy Renewal Due', properties: { number } }]));
      await new Promise((resolve) => setTimeout(resolve, sentAt[0]! + ((number + 1) * 1_000) / RATE - performance.now()));
    }
    for (const answer of await Promise.all(answers)) if (!answer.ok) throw new Error(`an event was answered with ${answer.status}`);
    await server.received(LATENCIES, 60_000);
    const sorted = [...tookMs].filter(([number]) => number >= COLD).map(([, ms]) => ms).sort((a, b) => a - b);
    return sorted[Math.ceil(sorted.length * 0.99) - 1]!;
  } finally {
    await system.dispose();
    await server.stop();
  }
}
