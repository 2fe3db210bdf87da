import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { Multilith } from '../support/multilith.ts';
import { TestWorkspace } from '../support/workspace.ts';
import { mailsPerSecond, prepare, startSink } from './main-job-load.ts';
import type { BenchRow } from './report.ts';

const SECONDS = 30;
const WARM_UP_SECONDS = 5;
const IDLE_MS = 3_000;

export async function benchMainJob(): Promise<BenchRow[]> {
  const sink = await startSink();
  try {
    const { mails, lagMs, idleMb, busyMb } = await measureMainJob(sink.port, SECONDS);
    return [
      { name: 'main-job.mails', value: mails, unit: '/s', aim: 1_500, limit: await nodemailerRate(sink.port), note: "limit: nodemailer's pool alone" },
      { name: 'main-job.event-loop-blocked-at-most', value: lagMs, unit: 'ms', aim: 50, better: 'lower' },
      { name: 'main-job.resident-idle', value: idleMb, unit: 'MB', aim: 150, better: 'lower' },
      { name: 'main-job.resident-under-load', value: busyMb, unit: 'MB', aim: 350, better: 'lower' },
    ];
  } finally {
    sink.child.kill('SIGKILL');
  }
}

export interface MainJobFigures {
  /** A second. */
  readonly mails: number;
  /** The longest delay of the event loop after the warm-up. */
  readonly lagMs: number;
  readonly idleMb: number;
  readonly busyMb: number;
}

/**
 * Event accepted → mail taken by postfix's smtp-sink, in a real process with real settings; every event matches an
 * automation, every delivery is recorded. The sender waits when too much is under way, so the rate is one that lasts.
 */
export async function measureMainJob(sinkPort: number, seconds: number, args: readonly string[] = []): Promise<MainJobFigures> {
  const multilith = await Multilith.start({ args, env: { MULTILITH_SMTP_URL: `smtp://127.0.0.1:${sinkPort}` }, execArgv: (process.env.BENCH_EXEC_ARGV ?? '').split(' ').filter(Boolean) });
  try {
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
    const idleMb = multilith.residentMb;
    const workspace = await TestWorkspace.create(multilith);
    const automationId = await prepare(workspace);
    const samples: { at: number; lagMs: number; mb: number }[] = [];
    const mails = await mailsPerSecond(workspace, automationId, { seconds, warmUpSeconds: WARM_UP_SECONDS }, async () => {
      samples.push({ at: performance.now(), lagMs: await loopLagMs(workspace), mb: multilith.residentMb });
    });
    const steady = samples.filter((s) => s.at > samples[0]!.at + WARM_UP_SECONDS * 1_000);
    return { mails, lagMs: Math.max(...steady.map((s) => s.lagMs)), idleMb, busyMb: Math.max(...samples.map((s) => s.mb)) };
  } finally {
    await multilith.stop();
    await multilith.dispose();
  }
}

/** The longest delay since the last look. */
async function loopLagMs(workspace: TestWorkspace): Promise<number> {
  const text = await (await fetch(`${workspace.url}/metrics`)).text();
  return Number(/^nodejs_eventloop_lag_max_seconds (\S+)/m.exec(text)?.[1] ?? Number.NaN) * 1_000;
}

/** The peer, in a process of its own: nodemailer's pool of 20 with nothing around it. */
async function nodemailerRate(port: number): Promise<number> {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../../../test/bench/peers/nodemailer.mjs'), String(port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  for await (const chunk of child.stdout) text += String(chunk);
  return (JSON.parse(text.trim().split('\n').at(-1)!) as { mails: number }).mails;
}
