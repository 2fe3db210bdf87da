import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { Analytics } from '@segment/analytics-node';
import { isLong } from './campaign.ts';
import { type Deployment, deploy } from './deployments.ts';
import { auditMails } from './mail-audit.ts';
import { MailServer } from './smtp-server.ts';
import type { Layout, SystemOptions, TestSystem } from './topologies.ts';
import { TestWorkspace } from './workspace.ts';

const PEOPLE = 50;
/** In short there are some under way at each moment, and a processor is left for what is tested. */
const EVENTS_PER_SECOND = isLong ? 200 : 80;
const TICK_MS = 25;
/** Not yet accepted: what a client keeps for a server that is away. */
const MOST_OPEN = 500;
/** The longest that an operation which a page asks of another module may take. */
const OPERATION_MS = 2_000;
/** What the public API gives each request. */
const REQUEST_MS = 10_000;
/** The same but for a moment: whoever can say what is missing does so before the time is up. */
const WHOLE_TIME_MS = REQUEST_MS - 500;
/** For the way there and back, and for a machine that does other things too. */
const SLACK_MS = 1_500;
/** For each event, since most may have piled up while something was away: several times what it takes on two cores. */
const CATCH_UP_MS = 5;

export interface LoadOptions {
  /** Starts what the system stores in and is told by. Default: SQLite and the embedded bus. */
  readonly use?: Deployment['use'];
  /** Default 200, in short 80. */
  readonly eventsPerSecond?: number;
  /** So many accepted events may wait for their mails before no more are sent. Default: any number. */
  readonly mostUnderWay?: number;
  /** Whether the mails are kept whole. Default true. */
  readonly keepsMails?: boolean;
}

/** One question at the portal and its answer; status 0: none came. */
export interface Visit {
  readonly path: string;
  readonly status: number;
  readonly ms: number;
  readonly problem: string;
}

/**
 * What goes on while hosts break: a real client sends events of which each makes one mail, and somebody looks at pages
 * of every module. `addsUp` holds the ledger against what should have come of it.
 */
export class SplitLoad {
  readonly visits: Visit[] = [];
  readonly #system: TestSystem;
  readonly #server: MailServer;
  readonly #workspace: TestWorkspace;
  readonly #analytics: Analytics;
  readonly #automationId: string;
  readonly #eventsATick: number;
  readonly #mostUnderWay: number;
  readonly #givenUp: unknown[] = [];
  #next = 0;
  #accepted = 0;
  #sending: NodeJS.Timeout | undefined;
  #visiting: Promise<unknown> | undefined;
  #isVisiting = false;

  private constructor(system: TestSystem, server: MailServer, workspace: TestWorkspace, automationId: string, { eventsPerSecond = EVENTS_PER_SECOND, mostUnderWay = Number.POSITIVE_INFINITY }: LoadOptions) {
    this.#system = system;
    this.#server = server;
    this.#workspace = workspace;
    this.#automationId = automationId;
    this.#eventsATick = Math.ceil((eventsPerSecond * TICK_MS) / 1_000);
    this.#mostUnderWay = mostUnderWay;
    this.#analytics = new Analytics({ writeKey: workspace.key, host: system.url, flushAt: 20, flushInterval: 100, maxRetries: 1_000 });
  }

  /** A system of its own with this load on it; everything goes when the test ends. */
  static async on(t: TestContext, layout: Layout, options: SystemOptions & LoadOptions = {}): Promise<{ system: TestSystem; load: SplitLoad }> {
    let system: TestSystem | undefined;
    let load: SplitLoad | undefined;
    const server = await MailServer.start(options);
    t.after(async () => {
      await load?.stop();
      await system?.dispose();
      await server.stop();
    });
    system = await deploy({ name: 'under load', layout, use: options.use }, { ...options, env: { ...options.env, MULTILITH_SMTP_URL: server.url } });
    load = await SplitLoad.#start(system, server, options);
    return { system, load };
  }

  static async #start(system: TestSystem, server: MailServer, options: LoadOptions): Promise<SplitLoad> {
    const workspace = await TestWorkspace.create(system);
    await workspace.send(Array.from({ length: PEOPLE }, (_, i) => ({ type: 'identify', userId: `u${i}`, traits: { email: `u${i}@customer.example`, firstName: `P${i}` } })));
    await workspace.until('/api/v1/people?limit=200', (page) => page.items.length === PEOPLE);
    const templateId = await workspace.template({ subject: 'Claim {{ event.number }}', body: '<p>Hello {{ person.firstName }}</p>' });
    const load = new SplitLoad(system, server, workspace, await workspace.automation('Claim Opened', templateId), options);
    load.#sending = setInterval(() => load.#send(), TICK_MS);
    load.visit();
    return load;
  }

  /** Events whose acceptance the client was told of. */
  get accepted(): number {
    return this.#accepted;
  }

  /** Resolves when so many more events were accepted. */
  async more(events: number, deadlineMs = 30_000): Promise<void> {
    const wanted = this.#accepted + events;
    for (const end = Date.now() + deadlineMs; this.#accepted < wanted; ) {
      if (Date.now() > end) throw new Error(`${wanted - this.#accepted} of ${events} events were not accepted within ${deadlineMs} ms\n${this.#system.output.slice(-10_000)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Resolves when so many different mails have come in all; answers how many of them came more than once. */
  async taken(mails: number, deadlineMs: number): Promise<number> {
    for (const end = Date.now() + deadlineMs; this.#server.taken < mails; await new Promise((resolve) => setTimeout(resolve, 20))) {
      if (Date.now() > end) throw new Error(`${this.#server.taken} of ${mails} mails came within ${deadlineMs} ms\n${this.#system.output.slice(-10_000)}`);
    }
    return this.#server.repeated;
  }

  /** Looks at pages from now on. */
  visit(): void {
    this.#isVisiting = true;
    const paths = ['/api/v1/people?limit=1', '/api/v1/templates', '/api/v1/automations', '/api/v1/agenda', '/api/v1/deliveries?limit=1', `/api/v1/automations/${this.#automationId}/deliveries/counts`];
    this.#visiting = Promise.all(paths.map((path) => this.#visitOften(path)));
  }

  /** While a host is broken by `work`; looks at no pages where it is the portal's own. */
  async without(host: string, work: () => Promise<void>): Promise<void> {
    if (host !== this.#system.hostOf('portal')) return work();
    await this.#leave();
    try {
      await work();
    } finally {
      this.visit();
    }
  }

  /**
   * Every question at a portal that runs is answered in time: by it alone always well, by others well or with the word
   * that they are away. Where hosts are `restarted`, who asks them waits for those that are starting.
   */
  assertAnswered({ restarted = false } = {}): void {
    assert.ok(this.visits.length > 0);
    const mostMs = (restarted ? REQUEST_MS : OPERATION_MS) + SLACK_MS;
    const bad = this.visits.filter(({ path, status, ms }) => ms > mostMs || !(status === 200 || (!/people|templates/.test(path) && (status === 503 || status === 504))));
    assert.deepEqual(bad.slice(0, 10), [], `${bad.length} of ${this.visits.length}`);
  }

  /** No question failed; on a machine on which a restart takes longer than a request may, only those that have waited for all of their time. */
  assertUnfailed(): void {
    assert.ok(this.visits.length > 0);
    const bad = this.visits.filter(({ status, ms }) => status !== 200 && ms < WHOLE_TIME_MS);
    assert.deepEqual(bad.slice(0, 10), [], `${bad.length} of ${this.visits.length}`);
  }

  /** Everything comes to rest, and then nothing is lost and nothing done twice. Answers how many mails came twice, each of them marked. */
  async addsUp(t: TestContext, deadlineMs = 90_000 + this.#accepted * CATCH_UP_MS): Promise<number> {
    clearInterval(this.#sending);
    await this.#leave();
    await this.#system.healed(deadlineMs);
    await this.#analytics.closeAndFlush({ timeout: deadlineMs });
    assert.deepEqual([this.#accepted, this.#givenUp.slice(0, 3)], [this.#next, []]);
    const repeated = await auditMails(this.#workspace, this.#automationId, this.#server, this.#accepted, deadlineMs);
    const memory = this.#system.hosts.map((host) => `${host} ${Math.round(this.#system.host(host).residentMb)} MB`).join(', ');
    for (const host of this.#system.hosts) assert.ok(this.#system.host(host).residentMb < 450, memory);
    const slowest = Math.round(Math.max(...this.visits.map(({ ms }) => ms)));
    t.diagnostic(`${this.#accepted} events, ${repeated} mails twice, ${this.visits.length} pages, ${this.visits.filter(({ status }) => status !== 200).length} of them degraded, the slowest ${slowest} ms; ${memory}`);
    return repeated;
  }

  async stop(): Promise<void> {
    clearInterval(this.#sending);
    await this.#leave();
    await this.#analytics.closeAndFlush({ timeout: 1 });
  }

  #send(): void {
    const most = Math.min(this.#accepted + MOST_OPEN, this.#server.taken + this.#mostUnderWay);
    for (let n = 0; n < this.#eventsATick && this.#next < most; n++) {
      const number = this.#next++;
      this.#analytics.track({ userId: `u${number % PEOPLE}`, event: 'Claim Opened', messageId: `claim-${number}`, properties: { number } }, (error) => {
        if (error === undefined) this.#accepted++;
        else this.#givenUp.push(error);
      });
    }
  }

  async #leave(): Promise<void> {
    this.#isVisiting = false;
    await this.#visiting;
  }

  async #visitOften(path: string): Promise<void> {
    while (this.#isVisiting) {
      const began = performance.now();
      const { status, problem } = await fetch(`${this.#system.url}${path}`, { headers: { authorization: `Bearer ${this.#workspace.key}` }, signal: AbortSignal.timeout(15_000) }).then(
        async (response) => ({ status: response.status, problem: response.ok ? (await response.arrayBuffer(), '') : await response.text() }),
        (error: Error) => ({ status: 0, problem: String(error.cause ?? error) }),
      );
      this.visits.push({ path, status, problem, ms: performance.now() - began });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
