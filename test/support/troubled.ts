import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { parentPort, threadId } from 'node:worker_threads';
import { inject, injectable } from 'inversify';
import type { Kysely } from 'kysely';
import { z } from 'zod';
import { blobDrivers } from '../../adapters/blob/catalog.ts';
import { busDrivers } from '../../adapters/bus/catalog.ts';
import { sharedCacheDrivers } from '../../adapters/cache/catalog.ts';
import { channelDrivers } from '../../adapters/channel/catalog.ts';
import { registryDrivers } from '../../adapters/registry/catalog.ts';
import { storageDrivers } from '../../adapters/storage/catalog.ts';
import type { Parts } from '../../src/app/config/parts.ts';
import { BootProblem } from '../../src/app/host/boot-problem.ts';
import { type Call, systemCall } from '../../src/kernel/call.ts';
import { command, contract, query } from '../../src/kernel/contract.ts';
import { Fault, FAULT_STATUS, toFault } from '../../src/kernel/fault.ts';
import type { Lifecycle } from '../../src/kernel/lifecycle.ts';
import { job, Publisher, type Received } from '../../src/kernel/message.ts';
import { defineModule, type HttpSurface, Settings, type TransactionalHandler } from '../../src/kernel/module.ts';
import { System, SystemStatus } from '../../src/kernel/system.ts';
import { type Counter, Log, Metrics } from '../../src/kernel/telemetry.ts';
import { Store, type Transaction } from '../../src/ports/storage.ts';

const Nothing = z.object({});
type Nothing = z.infer<typeof Nothing>;
const Whereabouts = z.object({ threadId: z.int(), greeting: z.string(), system: SystemStatus });
type Whereabouts = z.infer<typeof Whereabouts>;
const TROUBLES = ['throw', 'throw-nothing', 'reject', 'exit', 'memory', 'native'] as const;

/** What tests ask of a module on a thread: some work, and every kind of trouble. */
interface Troubled {
  where(request: Nothing, call: Call): Promise<Whereabouts>;
  /** Keeps its thread from everything else, and with `loops` a processor busy. */
  block(request: { ms: number; loops?: boolean | undefined }, call: Call): Promise<object>;
  /** Breaks its thread a moment after it has answered. */
  trouble(request: { kind: (typeof TROUBLES)[number] }, call: Call): Promise<object>;
  /** How often each message was handled, by number. */
  marks(request: Nothing, call: Call): Promise<{ marks: Record<string, number> }>;
  /** Another answer each time, which may be cached. */
  now(request: Nothing, call: Call): Promise<{ now: number }>;
}
const troubled = contract<Troubled>('troubled', {
  where: query({ input: Nothing, output: Whereabouts, timeoutMs: 5_000 }),
  block: command({ input: z.object({ ms: z.int(), loops: z.boolean().optional() }), output: Nothing, timeoutMs: 500 }),
  trouble: command({ input: z.object({ kind: z.enum(TROUBLES) }), output: Nothing, timeoutMs: 5_000 }),
  marks: query({ input: Nothing, output: z.object({ marks: z.record(z.string(), z.int()) }), timeoutMs: 5_000 }),
  now: query({ input: Nothing, output: z.object({ now: z.number() }), timeoutMs: 5_000, cache: { ttlMs: 60_000, keyBy: () => 'now' } }),
});

/** What the module on the thread calls on the main thread. */
interface Front {
  greet(request: { name: string }, call: Call): Promise<{ greeting: string }>;
}
const front = contract<Front>('front', { greet: query({ input: z.object({ name: z.string() }), output: z.object({ greeting: z.string() }), timeoutMs: 2_000 }) });

const errand = job('front.errand', Nothing, { backoff: { firstMs: 50, mostMs: 200 } });
/** What the module on the thread calls, and which calls nobody: it may be on any host. */
interface Gate {
  pass(request: Nothing, call: Call): Promise<object>;
}
/** What `gate.pass` may take. */
export const PASS_MS = 300;
const gate = contract<Gate>('gate', { pass: query({ input: Nothing, output: Nothing, timeoutMs: PASS_MS }) });

/** Whoever greets itself so is called back. */
const CALL_BACK = 'call me back';
const mark = job('troubled.mark', z.object({ n: z.int() }), { backoff: { firstMs: 50, mostMs: 200 } });
interface Tables {
  marks: { n: number; times: number };
}

/** When it gets into trouble: as soon as it is made, in its start, for ever in its start, before the first call, or in its stop. */
const STARTS = ['well', 'unmade', 'fails', 'hangs', 'breaks', 'fails-and-hangs'] as const;
const STOPS = ['well', 'breaks'] as const;
const TroubledSettings = z.strictObject({
  start: z.enum(STARTS).default('well'),
  /** Left out: it starts in that way from the first. Else once this file is there. */
  startFrom: z.string().optional(),
  stop: z.enum(STOPS).default('well'),
  /** Never done with a message. */
  handlesForEver: z.boolean().default(false),
  /** Done with a message once it may pass the gate. */
  passesGate: z.boolean().default(false),
  /** Done with a message once this file is there and the other module, which it calls then, has called back. */
  handlesOnce: z.string().optional(),
});

@injectable()
class TroubledService implements Troubled {
  readonly #store: Store<Tables>;
  readonly #front: Front;
  readonly #system: System;
  readonly #log: Log;
  readonly #asked: Counter;

  constructor(@inject(Store) store: Store<Tables>, @inject(front.id) callee: Front, @inject(System) system: System, @inject(Log) log: Log, @inject(Metrics) metrics: Metrics) {
    this.#store = store;
    this.#front = callee;
    this.#system = system;
    this.#log = log;
    this.#asked = metrics.counter('troubled_asked_total', 'Questions where it runs.');
  }

  async where(_: object, call: Call): Promise<Whereabouts> {
    this.#asked.add();
    this.#log.info({ threadId, err: new RangeError('of no consequence') }, 'asked');
    const { greeting } = await this.#front.greet({ name: 'thread' }, call);
    return { threadId, greeting, system: await this.#system.status(call) };
  }

  async block({ ms, loops = false }: { ms: number; loops?: boolean | undefined }): Promise<object> {
    this.#asked.add();
    if (!loops) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    for (const until = Date.now() + ms; loops && Date.now() < until; );
    return {};
  }

  async trouble({ kind }: { kind: (typeof TROUBLES)[number] }): Promise<object> {
    setTimeout(() => {
      if (kind === 'throw') throw new Error('thrown where nobody catches');
      if (kind === 'throw-nothing') throw null;
      if (kind === 'exit') process.exit(3);
      if (kind === 'reject') void Promise.reject(new Error('rejected where nobody looks'));
      // Not to be interrupted from outside, as a statement of a database is not.
      if (kind === 'native') execFileSync('sleep', ['8']);
      if (kind === 'memory') for (const hoard: object[] = []; ; ) hoard.push(Array.from({ length: 1_000 }, (_, i) => ({ i })));
    }, 20);
    return {};
  }

  async marks(): Promise<{ marks: Record<string, number> }> {
    const rows = await this.#store.db.selectFrom('marks').selectAll().execute();
    return { marks: Object.fromEntries(rows.map(({ n, times }) => [n, times])) };
  }

  async now(): Promise<{ now: number }> {
    return { now: performance.now() };
  }
}

@injectable()
class MarkHandler implements TransactionalHandler<{ n: number }, Transaction<Tables>> {
  readonly #settings: z.infer<typeof TroubledSettings>;
  readonly #front: Front;
  readonly #gate: Gate;
  readonly #log: Log;

  constructor(@inject(Settings) settings: z.infer<typeof TroubledSettings>, @inject(front.id) callee: Front, @inject(gate.id) further: Gate, @inject(Log) log: Log) {
    this.#settings = settings;
    this.#front = callee;
    this.#gate = further;
    this.#log = log;
  }

  async handle({ payload: { n } }: Received<{ n: number }>, tx: Transaction<Tables>): Promise<void> {
    const { handlesForEver, handlesOnce, passesGate } = this.#settings;
    this.#log.info({}, 'handling');
    if (handlesForEver) await new Promise(() => {});
    if (passesGate) await this.#gate.pass({}, systemCall('mark', null, Date.now() + 30_000));
    if (handlesOnce !== undefined) {
      while (!existsSync(handlesOnce)) await new Promise((resolve) => setTimeout(resolve, 10));
      await this.#front.greet({ name: CALL_BACK }, systemCall('mark', null, Date.now() + 2_000));
    }
    this.#log.info({}, 'handled');
    await tx.db.insertInto('marks').values({ n, times: 1 }).onConflict((conflict) => conflict.column('n').doUpdateSet((eb) => ({ times: eb('marks.times', '+', 1) }))).execute();
  }
}

@injectable()
class TroubledLifecycle implements Lifecycle {
  readonly #start: (typeof STARTS)[number];
  readonly #stop: (typeof STOPS)[number];
  readonly #log: Log;

  constructor(@inject(Settings) { start, startFrom, stop }: z.infer<typeof TroubledSettings>, @inject(Log) log: Log) {
    this.#log = log;
    this.#start = startFrom === undefined || existsSync(startFrom) ? start : 'well';
    this.#stop = stop;
    if (this.#start === 'unmade') throw new BootProblem('The boiler has a hole.', 'Weld it.');
  }

  async start(): Promise<void> {
    if (this.#start === 'hangs') {
      this.#log.info({}, 'hanging');
      await new Promise(() => {});
    }
    if (this.#start.startsWith('fails')) throw new Fault('unavailable', 'There is no coal.', { reason: 'no_coal', details: { remedy: 'Shovel some.' } });
    if (this.#start === 'breaks') parentPort!.on('message', () => process.exit(4));
  }

  async stop(): Promise<void> {
    if (this.#start === 'fails-and-hangs') await new Promise(() => {});
    if (this.#stop === 'breaks') process.exit(5);
  }
}

@injectable()
class FrontService implements Front {
  readonly #troubled: Troubled;

  constructor(@inject(troubled.id) callee: Troubled) {
    this.#troubled = callee;
  }

  async greet({ name }: { name: string }, call: Call): Promise<{ greeting: string }> {
    if (name === CALL_BACK) await this.#troubled.now({}, call);
    return { greeting: `hello ${name}` };
  }
}

/** Held by a test: errands that have begun go on when it is over. */
export const errands = { begun: 0, done: 0, held: Promise.resolve() };

/** Calls the other module, which calls back. */
@injectable()
class ErrandHandler implements TransactionalHandler<Nothing, Transaction<Tables>> {
  readonly #troubled: Troubled;

  constructor(@inject(troubled.id) callee: Troubled) {
    this.#troubled = callee;
  }

  async handle(): Promise<void> {
    errands.begun++;
    await errands.held;
    await this.#troubled.where({}, systemCall('errand', null, Date.now() + 2_000));
    errands.done++;
  }
}

/** `/page` answers by itself; `/<method>?<request as JSON>` calls the other module; `/publish?<count>` sends it messages; `/errand` begins an errand here. */
@injectable()
class Surface implements HttpSurface {
  readonly #troubled: Troubled;
  readonly #publisher: Publisher;
  #published = 0;

  constructor(@inject(troubled.id) callee: Troubled, @inject(Publisher) publisher: Publisher) {
    this.#troubled = callee;
    this.#publisher = publisher;
  }

  handle(request: IncomingMessage, response: ServerResponse): boolean {
    const [path, query = ''] = request.url!.slice(1).split('?');
    const answer = (status: number, body: object): void => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    this.#answer(path!, decodeURIComponent(query)).then(
      (body) => answer(200, body),
      (thrown: unknown) => {
        const { code, reason, origin } = toFault(thrown);
        answer(FAULT_STATUS[code], { code, reason, origin });
      },
    );
    return true;
  }

  async #answer(path: string, query: string): Promise<object> {
    if (path === 'page') return { page: 1 };
    if (path === 'publish') return this.#publish(Number(query));
    if (path === 'errand') return this.#publisher.publish(errand, {}, { workspace: null }).then(() => ({}));
    const method = this.#troubled[path as keyof Troubled] as (request: unknown, call: Call) => Promise<object>;
    return method(query === '' ? {} : JSON.parse(query), systemCall('test', 'w1', Date.now() + 5_000));
  }

  async #publish(count: number): Promise<object> {
    for (let i = 0; i < count; i++) await this.#publisher.publish(mark, { n: this.#published++ }, { workspace: null });
    return { published: this.#published };
  }
}

@injectable()
class GateService implements Gate {
  async pass(): Promise<object> {
    return {};
  }
}

/** Three modules: one that shows pages, one that gets into trouble, and one that this one calls. */
export const troubledParts: Parts = {
  modules: [
    defineModule({ name: 'front', contract: front, implementation: FrontService, calls: [troubled], migrations: [], subscriptions: [{ message: errand, concurrency: 1, transactional: ErrandHandler }], publishes: [errand, mark], settings: z.strictObject({}), parts: [], lifecycles: [], http: Surface }),
    defineModule({
      name: 'troubled',
      contract: troubled,
      implementation: TroubledService,
      calls: [front, gate],
      migrations: [{ name: '0001-marks', up: (db: Kysely<Tables>) => db.schema.createTable('marks').addColumn('n', 'integer', (column) => column.primaryKey()).addColumn('times', 'integer', (column) => column.notNull()).execute() }],
      subscriptions: [{ message: mark, concurrency: 8, transactional: MarkHandler }],
      publishes: [],
      settings: TroubledSettings,
      parts: [],
      lifecycles: [TroubledLifecycle],
    }),
    defineModule({ name: 'gate', contract: gate, implementation: GateService, calls: [], migrations: [], subscriptions: [], publishes: [], settings: z.strictObject({}), parts: [], lifecycles: [] }),
  ],
  storage: storageDrivers,
  bus: busDrivers,
  channel: channelDrivers,
  blob: blobDrivers,
  registry: registryDrivers,
  cache: sharedCacheDrivers,
  thread: new URL('./troubled-thread.js', import.meta.url),
};
