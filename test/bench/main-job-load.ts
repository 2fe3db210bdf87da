import { type ChildProcess, spawn } from 'node:child_process';
import { Agent, request } from 'node:http';
import { freePort } from '../support/server-process.ts';
import { TestWorkspace } from '../support/workspace.ts';

const PEOPLE = 5_000;
const EVENTS_A_BATCH = 20;
/** Events that are accepted and not yet sent: enough to keep everything busy, little enough to be steady. */
const UNDER_WAY = 4_000;
const SENDERS = 4;

/**
 * Posts events of which each makes one mail, as fast as they leave again, and waits for the last of them; answers the
 * rate after the warm-up. `sample` is called every half second.
 */
export async function mailsPerSecond(workspace: TestWorkspace, automationId: string, { seconds, warmUpSeconds }: { seconds: number; warmUpSeconds: number }, sample: () => Promise<void> = async () => {}): Promise<number> {
  const path = `/api/v1/automations/${automationId}/deliveries/counts`;
  let sent = 0;
  const until = Date.now() + (warmUpSeconds + seconds) * 1_000;
  const sending = postEvents(workspace, { goesOn: () => Date.now() < until, sent: () => sent });
  const samples: { at: number; sent: number }[] = [];
  while (Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    sent = (await workspace.ask('GET', path)).sent;
    samples.push({ at: performance.now(), sent });
    await sample();
  }
  const accepted = await sending;
  const final = await workspace.until(path, (c) => c.sent === accepted, 60_000);
  if (final.audience !== accepted) throw new Error(`${accepted} events were accepted and ${final.audience} deliveries recorded`);
  const steady = samples.filter((s) => s.at > samples[0]!.at + warmUpSeconds * 1_000);
  const [first, last] = [steady[0]!, steady.at(-1)!];
  return ((last.sent - first.sent) * 1_000) / (last.at - first.at);
}

/** Events of which each makes one mail, while it `goesOn` after so many, as fast as they are `sent`; answers how many were accepted. */
export async function postEvents(workspace: TestWorkspace, { goesOn, sent }: { goesOn: (accepted: number) => boolean; sent: () => number }): Promise<number> {
  let accepted = 0;
  const agent = new Agent({ keepAlive: true, maxSockets: SENDERS });
  await Promise.all(
    Array.from({ length: SENDERS }, async () => {
      while (goesOn(accepted)) {
        if (accepted - sent() > UNDER_WAY) await new Promise((resolve) => setTimeout(resolve, 10));
        else {
          accepted += EVENTS_A_BATCH;
          await post(workspace, agent, batch(accepted));
        }
      }
    }),
  );
  agent.destroy();
  return accepted;
}

/** People, and an automation with a mail of ordinary size; answers its id. */
export async function prepare(workspace: TestWorkspace): Promise<string> {
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

/** postfix's smtp-sink: takes mails and forgets them. */
export async function startSink(): Promise<{ port: number; child: ChildProcess }> {
  const port = await freePort();
  const child = spawn('smtp-sink', ['-u', 'nobody', `127.0.0.1:${port}`, '1000'], { stdio: 'ignore', env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
  process.once('exit', () => child.kill('SIGKILL'));
  await new Promise((resolve, reject) => {
    child.once('error', reject);
    setTimeout(resolve, 300);
  });
  return { port, child };
}
