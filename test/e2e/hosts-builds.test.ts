import assert from 'node:assert/strict';
import { it, type TestContext as Test } from 'node:test';
import { newId } from '../../src/kernel/ids.ts';
import { MailTraffic } from '../support/mail-traffic.ts';
import { otherBuild } from '../support/other-build.ts';
import { MailServer } from '../support/smtp-server.ts';
import { TestSystem } from '../support/topologies.ts';
import type { TestWorkspace } from '../support/workspace.ts';

const CONTRACT = 'modules/notification/contract.js';
const ASK_MS = 20;
/** What the public API gives each request, 10 s, but for a moment: whoever can say what is missing does so before the time is up. */
const WHOLE_TIME_MS = 9_500;

async function prepare(t: Test, via: 'rpc' | 'http' = 'rpc'): Promise<{ system: TestSystem; server: MailServer }> {
  const server = await MailServer.start();
  const calls = { portal: { via }, notification: { via } };
  const system = await TestSystem.prepare({ hosts: { app: ['portal', 'trigger'], mailer: ['notification'] }, calls, settings: { peers: { waitMs: 2_000 } } }, { env: { MULTILITH_SMTP_URL: server.url } });
  t.after(async () => {
    await system.dispose();
    await server.stop();
  });
  return { system, server };
}

/** Pages of the mailer's are asked for all the time, whether those before were answered or not; every fifth time something is changed there. */
class Visitors {
  readonly failures: { readonly ms: number; readonly problem: string }[] = [];
  answered = 0;
  slowestMs = 0;
  readonly suppressed: string[] = [];
  readonly #workspace: TestWorkspace;
  readonly #open = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #next = 0;

  constructor(t: Test, workspace: TestWorkspace) {
    this.#workspace = workspace;
    this.#timer = setInterval(() => this.#visit(), ASK_MS);
    t.after(() => this.leave());
  }

  /** Resolves when all have their answers. */
  async leave(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
  }

  /** What was changed, by those who were told that it was. */
  async kept(): Promise<string[]> {
    const kept: string[] = [];
    for (let after = ''; ; ) {
      const page = await this.#workspace.ask('GET', `/api/v1/suppressions?limit=200${after}`);
      kept.push(...page.items.map(({ address }: { address: string }) => address));
      if (page.next === null) return kept;
      after = `&after=${encodeURIComponent(page.next)}`;
    }
  }

  #visit(): void {
    const number = this.#next++;
    const began = performance.now();
    const asked = (number % 5 === 0 ? this.#suppress(`left${number}@customer.example`) : this.#workspace.ask('GET', '/api/v1/suppressions'))
      .then(
        () => void this.answered++,
        (thrown: Error) => void this.failures.push({ ms: performance.now() - began, problem: thrown.message }),
      )
      .finally(() => {
        this.slowestMs = Math.max(this.slowestMs, performance.now() - began);
        this.#open.delete(asked);
      });
    this.#open.add(asked);
  }

  async #suppress(address: string): Promise<void> {
    await this.#workspace.ask('PUT', `/api/v1/suppressions/email/${address}`, { reason: 'asked' }, { 'idempotency-key': newId() });
    this.suppressed.push(address);
  }
}

for (const via of ['rpc', 'http'] as const) {
  it(`hosts are taken to a build that adds to a contract, one after the other, under load, over ${via}: no page fails while the other host restarts, and nothing is lost`, { timeout: 120_000 }, async (t) => {
    const { system, server } = await prepare(t, via);
    const main = otherBuild(t, CONTRACT, 'const Track = z.object({', 'const Track = z.object({ note: z.string().optional(),');
    await Promise.all(system.hosts.map((host) => system.startHost(host)));
    const traffic = await MailTraffic.over(system, server);
    await traffic.mail();
    const stop = traffic.load(2);
    t.after(stop);
    const visitors = new Visitors(t, traffic.workspace);

    const began = performance.now();
    assert.equal(await system.host('mailer').stop(), 0);
    const stoppedMs = performance.now() - began;
    await system.startHost('mailer', { main });
    const startedMs = performance.now() - began;
    await system.healed();
    await visitors.leave();
    t.diagnostic(`stopped after ${Math.round(stoppedMs)} ms, ready after ${Math.round(startedMs)} ms; ${visitors.answered} answers, ${visitors.failures.length} failures, the slowest after ${Math.round(visitors.slowestMs)} ms`);
    // Where a restart takes longer than a request may, those fail that have waited for all of their time; elsewhere nobody does.
    const early = visitors.failures.filter(({ ms }) => startedMs < WHOLE_TIME_MS / 2 || ms < WHOLE_TIME_MS);
    assert.deepEqual(early.slice(0, 5), [], `${early.length} of ${visitors.failures.length} failures`);
    assert.ok(visitors.suppressed.length > 0);
    const kept = new Set(await visitors.kept());
    assert.deepEqual(visitors.suppressed.filter((address) => !kept.has(address)), []);
    await traffic.mail();

    assert.equal(await system.host('app').stop(), 0);
    await system.startHost('app', { main });
    await system.healed();
    await stop();
    const { events } = await traffic.addsUp();
    t.diagnostic(`${events} events`);
  });
}

it('a build that breaks a contract is refused, with its host and the field, and the rest goes on', { timeout: 120_000 }, async (t) => {
  const { system, server } = await prepare(t);
  const main = otherBuild(t, CONTRACT, 'const Track = z.object({', 'const Track = z.object({ reason: z.string(),');
  const [app] = await Promise.all([system.startHost('app'), system.startHost('mailer', { main })]);
  const traffic = await MailTraffic.over(system, server).catch((thrown: Error) => thrown);
  const said = ((await (await fetch(`${system.url}/readyz`)).json()) as { ready: boolean; problems: string[] });
  assert.equal(said.ready, true);
  assert.match(said.problems.join(), /notification on host mailer does not fit: .*reason/);
  await app!.says(/"level":"error".*does not fit: .*reason/);
  assert.match(String(traffic), /notification on host mailer does not fit/, 'publishing a template asks the mailer to compile it');
  assert.equal((await fetch(`${system.url}/login`)).status, 200);

  // The right build takes up what has waited.
  await system.host('mailer').stop();
  await system.startHost('mailer');
  await system.healed();
});
