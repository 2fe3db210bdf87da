import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, request } from 'node:http';
import { Multilith } from '../support/multilith.ts';
import { TestWorkspace } from '../support/workspace.ts';
import type { BenchRow } from './report.ts';
import { freePort } from './servers.ts';

const PEOPLE = 5_000;
const EVENTS_A_BATCH = 20;
const SECONDS = 30;
const WARM_UP_SECONDS = 5;
/** Events that are accepted and not yet sent: enough to keep everything busy, little enough to be steady. */
const UNDER_WAY = 4_000;
const IDLE_MS = 3_000;
const SENDERS = 4;

/**
 * Event accepted → mail taken by postfix's smtp-sink, in a real process with real settings; every event matches an
 * automation, every delivery is recorded. The sender waits when too much is under way, so the rate is one that lasts.
 */
export async function benchMainJob(): Promise<BenchRow[]> {
  const sink = await startSink();
  const multilith = await Multilith.start({ env: { MULTILITH_SMTP_URL: `smtp://127.0.0.1:${sink.port}` }, execArgv: (process.env.BENCH_EXEC_ARGV ?? '').split(' ').filter(Boolean) });
  try {
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
    const idleMb = residentMb(multilith);
    const workspace = await TestWorkspace.create(multilith);
    const automationId = await prepare(workspace);
    const counts = () => workspace.ask('GET', `/api/v1/automations/${automationId}/deliveries/counts`) as Promise<{ audience: number; sent: number }>;

    let sent = 0;
    let accepted = 0;
    const until = Date.now() + (WARM_UP_SECONDS + SECONDS) * 1_000;
    const agent = new Agent({ keepAlive: true, maxSockets: SENDERS });
    const sending = Promise.all(
      Array.from({ length: SENDERS }, async () => {
        while (Date.now() < until) {
          if (accepted - sent > UNDER_WAY) await new Promise((resolve) => setTimeout(resolve, 10));
          else {
            accepted += EVENTS_A_BATCH;
            await post(workspace, agent, batch(accepted));
          }
        }
      }),
    );
    const samples: { at: number; sent: number; lagMs: number; mb: number }[] = [];
    while (Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      sent = (await counts()).sent;
      samples.push({ at: performance.now(), sent, lagMs: await loopLagMs(workspace), mb: residentMb(multilith) });
    }
    await sending;
    agent.destroy();
    const steady = samples.filter((s) => s.at > samples[0]!.at + WARM_UP_SECONDS * 1_000);
    const [first, last] = [steady[0]!, steady.at(-1)!];
    const final = await workspace.until(`/api/v1/automations/${automationId}/deliveries/counts`, (c) => c.sent === accepted, 60_000);
    if (final.audience !== accepted) throw new Error(`${accepted} events were accepted and ${final.audience} deliveries recorded`);
    const nodemailer = await nodemailerRate(sink.port);
    return [
      { name: 'main-job.mails', value: ((last.sent - first.sent) * 1_000) / (last.at - first.at), unit: '/s', aim: 1_500, limit: nodemailer, note: "limit: nodemailer's pool alone" },
      { name: 'main-job.event-loop-blocked-at-most', value: Math.max(...steady.map((s) => s.lagMs)), unit: 'ms', aim: 50, better: 'lower' },
      { name: 'main-job.resident-idle', value: idleMb, unit: 'MB', aim: 150, better: 'lower' },
      { name: 'main-job.resident-under-load', value: Math.max(...samples.map((s) => s.mb)), unit: 'MB', aim: 350, better: 'lower' },
    ];
  } finally {
    await multilith.stop();
    await multilith.dispose();
    sink.child.kill('SIGKILL');
  }
}

async function prepare(workspace: TestWorkspace): Promise<string> {
  for (let start = 0; start < PEOPLE; start += 100) {
    const people = Array.from({ length: 100 }, (_, i) => ({ type: 'identify', userId: `user-${start + i}`, traits: { email: `person${start + i}@customer.example`, firstName: 'Maria', plan: 'gold', timeZone: 'America/New_York', policies: [{ number: `P-${start + i}`, premium: 480 }] } }));
    await workspace.send(people);
  }
  const rows = Array.from({ length: 12 }, (_, i) => `<tr><td style="padding:8px;color:#333">Line ${i}</td><td>{{ event.premium | plus: ${i} }}</td></tr>`).join('\n');
  const body = `<html><body style="font-family:sans-serif"><h1>Dear {{ person.firstName }}</h1><p>Your {{ event.line }} policy {{ event.policy }} renews on {{ event.renewal | date: "%B %d, %Y" }}.</p>{% if person.plan == 'gold' %}<p>Thank you for your loyalty.</p>{% endif %}<table>${rows}</table><p>${'We are here for you whenever you need us. '.repeat(20)}</p><p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>`;
  const templateId = await workspace.template({ subject: '{{ person.firstName }}, your {{ event.line }} policy renews soon', body });
  return workspace.automation('Policy Renewal Due', templateId, { when: { field: 'person.plan', op: 'eq', value: 'gold' } });
}

function batch(from: number): string {
  const events = Array.from({ length: EVENTS_A_BATCH }, (_, i) => ({
    type: 'track',
    messageId: `bench-${from + i}`,
    userId: `user-${(from + i) % PEOPLE}`,
    event: 'Policy Renewal Due',
    timestamp: new Date().toISOString(),
    properties: { policy: `P-${from + i}`, line: 'Auto', premium: 480, renewal: '2026-12-24' },
    context: { library: { name: '@segment/analytics-node', version: '3.1.0' } },
  }));
  return JSON.stringify({ batch: events });
}

function post(workspace: TestWorkspace, agent: Agent, body: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Basic ${Buffer.from(`${workspace.key}:`).toString('base64')}`, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const sent = request(`${workspace.url}/v1/batch`, { method: 'POST', agent, headers }, (response) => {
      response.resume().on('end', () => (response.statusCode === 200 ? resolve() : reject(new Error(`a batch was answered with ${response.statusCode}`))));
    });
    sent.on('error', reject).end(body);
  });
}

/** The longest delay since the last look. */
async function loopLagMs(workspace: TestWorkspace): Promise<number> {
  const text = await (await fetch(`${workspace.url}/metrics`)).text();
  return Number(/^nodejs_eventloop_lag_max_seconds (\S+)/m.exec(text)?.[1] ?? Number.NaN) * 1_000;
}

function residentMb(multilith: Multilith): number {
  const status = readFileSync(`/proc/${multilith.process.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1_024;
}

async function startSink(): Promise<{ port: number; child: ChildProcess }> {
  const port = await freePort();
  const child = spawn('smtp-sink', ['-u', 'nobody', `127.0.0.1:${port}`, '1000'], { stdio: 'ignore', env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
  process.once('exit', () => child.kill('SIGKILL'));
  await new Promise((resolve, reject) => {
    child.once('error', reject);
    setTimeout(resolve, 300);
  });
  return { port, child };
}

/** The peer, in a process of its own: nodemailer's pool of 20 with nothing around it. */
async function nodemailerRate(port: number): Promise<number> {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../../../test/bench/peers/nodemailer.mjs'), String(port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  for await (const chunk of child.stdout) text += String(chunk);
  return (JSON.parse(text.trim().split('\n').at(-1)!) as { mails: number }).mails;
}
