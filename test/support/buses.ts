import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext as Test, after, before, describe } from 'node:test';
import { busDrivers } from '../../adapters/bus/catalog.ts';
import { storageDrivers } from '../../adapters/storage/catalog.ts';
import { busSharing } from '../../src/app/host/bus-sharing.ts';
import { newId } from '../../src/kernel/ids.ts';
import { StartStop } from '../../src/kernel/lifecycle.ts';
import type { Bus, Handler, Incoming, MessageFilter, Outcome, Outgoing, QueueSettings, QueueState } from '../../src/ports/bus.ts';
import { inParts } from '../../src/ports/in-parts.ts';
import type { Storage } from '../../src/ports/storage.ts';
import { ActiveMqServer } from './activemq.ts';
import { type TestContext, testContext } from './context.ts';
import { linkedBus, through } from './linked-bus.ts';

/** Every driver of the catalog, and those that one process of several keeps as the others reach them. */
const buses = {
  ...busDrivers,
  'embedded over a link': busDrivers.embedded,
  'activemq by way of its keeper': busDrivers.activemq,
} as const;
export type BusDriverName = keyof typeof buses;

export interface BusUnderTest {
  readonly driver: BusDriverName;
  /** Where the messages of one test live; goes with the test. */
  place(t: Test): TestContext;
  /** Not started; stopped after the test. Twice at one place, one after the other, is a restart. */
  create(t: Test, place: TestContext, settings?: object): Bus;
  /** Started. */
  open(t: Test, place?: TestContext, settings?: object): Promise<Bus>;
}

/** Runs a suite once for every driver. */
export function onEachBus(title: string, suite: (under: BusUnderTest) => void): void {
  for (const driver of Object.keys(buses) as BusDriverName[]) {
    describe(`${title}: ${driver}`, () => {
      if (driver.startsWith('activemq')) withBroker();
      suite(busUnderTest(driver));
    });
  }
}

/** The same for the drivers that keep messages themselves. */
export function onEachBusWithContents(title: string, suite: (under: BusUnderTest) => void): void {
  for (const driver of Object.keys(busDrivers) as (keyof typeof busDrivers)[]) {
    describe(`${title}: ${driver}`, () => {
      if (driver === 'activemq') withBroker();
      suite(busUnderTest(driver));
    });
  }
}

/** Runs a suite for every two drivers between which messages can be moved, the same twice included. */
export function onEachPairOfBuses(title: string, suite: (drivers: readonly [from: BusDriverName, to: BusDriverName], place: BusUnderTest['place']) => void): void {
  const drivers = Object.keys(busDrivers) as (keyof typeof busDrivers)[];
  for (const from of drivers) {
    for (const to of drivers) {
      describe(`${title}: ${from} to ${to}`, () => {
        const onBroker = [from, to].includes('activemq');
        if (onBroker) withBroker();
        suite([from, to], busUnderTest(onBroker ? 'activemq' : from).place);
      });
    }
  }
}

let broker: ActiveMqServer | undefined;

/** One broker for the tests of a suite, each of which has names of its own there. */
function withBroker(): void {
  before(async () => void (broker = await ActiveMqServer.start()));
  after(() => broker?.remove());
}

/** What a place's bus is told of the broker, in the place itself, so that another process finds it there. */
const BROKER_FILE = 'broker.json';

/** Gives a place names of its own at a broker. */
export function useBroker({ dataDir }: TestContext, { port }: ActiveMqServer): void {
  writeFileSync(join(dataDir, BROKER_FILE), JSON.stringify({ port, prefix: `suite-${newId()}` }));
}

function brokerAt({ dataDir }: TestContext): object {
  return JSON.parse(readFileSync(join(dataDir, BROKER_FILE), 'utf8')) as object;
}

/** A bus over `place`, as the product wires it. */
export function createBus(driver: BusDriverName, place: TestContext, settings: object = {}, openStorage: (name: string, directory?: string) => Storage = sqliteAt(place)): Bus {
  if (driver === 'activemq') return activemqAt(place, openStorage, settings);
  if (driver === 'activemq by way of its keeper') {
    return inTurn(activemqAt(place, sqliteAt({ ...place, dataDir: folder(place, 'keeper') }), settings), activemqAt(place, sqliteAt({ ...place, dataDir: folder(place, 'guest') }), settings));
  }
  const bus = busDrivers.embedded.create(busDrivers.embedded.settings.parse(settings), { ...place, openStorage });
  return driver === 'embedded' ? bus : linkedBus(bus, place);
}

function activemqAt(place: TestContext, openStorage: (name: string, directory?: string) => Storage, settings: object): Bus {
  const { activemq } = busDrivers;
  return activemq.create(activemq.settings.parse({ ...brokerAt(place), ...settings }), { ...place, openStorage, sharing: busSharing(place) });
}

function folder({ dataDir }: TestContext, name: string): string {
  const path = join(dataDir, name);
  mkdirSync(path, { recursive: true });
  return path;
}

/** The second as seen by one process that holds both, so that they can be restarted and killed as one. */
function inTurn(first: Bus, second: Bus): Bus {
  return through(
    second,
    new StartStop(
      async () => {
        await first.start();
        await second.start();
      },
      async (deadlineMs) => {
        await second.stop(deadlineMs * 0.8);
        await first.stop(deadlineMs * 0.2);
      },
    ),
  );
}

export function sqliteAt(place: TestContext): (name: string, directory?: string) => Storage {
  return (name, dataDir = place.dataDir) => storageDrivers.sqlite.create(storageDrivers.sqlite.settings.parse({}), { ...place, dataDir, name });
}

export function busUnderTest(driver: BusDriverName): BusUnderTest {
  const under: BusUnderTest = {
    driver,
    place(t) {
      const context = testContext();
      if (driver.startsWith('activemq')) useBroker(context, broker!);
      t.after(() => context.remove());
      return context;
    },
    create(t, place, settings) {
      const bus = createBus(driver, place, settings);
      // The clock's timers do not keep a process alive, which here may have nothing else to do.
      const awake = setInterval(() => {}, 60_000);
      t.after(async () => {
        await bus.stop(1_000);
        clearInterval(awake);
      });
      return bus;
    },
    async open(t, place = under.place(t), settings) {
      const bus = under.create(t, place, settings);
      await bus.start();
      return bus;
    },
  };
  return under;
}

export function queueOf(name: string, change: Partial<QueueSettings> = {}): QueueSettings {
  return { name, topics: [], ordered: false, attempts: 3, backoff: { firstMs: 1, factor: 1, mostMs: 1, jitter: 0 }, delayMs: 0, personal: [], ...change };
}

const TRACE = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' };

export function messageTo(queue: string, change: Partial<Outgoing> = {}): Outgoing {
  return { id: newId(), name: 'suite.message', to: { queue }, workspace: 'w1', key: null, lane: 'normal', time: Date.now(), trace: TRACE, payload: '{"n":1}', ...change };
}

/** A handler that keeps what it is given, and lets a test wait for it. */
export class Arrivals {
  readonly messages: Incoming[] = [];
  readonly #answer: (message: Incoming) => Promise<Outcome> | Outcome;
  #waiters: { readonly count: number; readonly resolve: () => void }[] = [];

  constructor(answer: (message: Incoming) => Promise<Outcome> | Outcome = () => ({ kind: 'done' })) {
    this.#answer = answer;
  }

  get ids(): string[] {
    return this.messages.map((message) => message.id);
  }

  handler: Handler = async (message) => {
    this.messages.push(message);
    const met = this.#waiters.filter(({ count }) => this.messages.length >= count);
    this.#waiters = this.#waiters.filter((waiter) => !met.includes(waiter));
    for (const { resolve } of met) resolve();
    return this.#answer(message);
  };

  /** Resolves when `count` messages have come in all. */
  async count(count: number, withinMs = 30_000): Promise<void> {
    if (this.messages.length >= count) return;
    const reached = new Promise<void>((resolve) => this.#waiters.push({ count, resolve }));
    await within(withinMs, reached, () => `${this.messages.length} of ${count} messages came`);
  }
}

/** Waits until a queue looks as described; what is only in the file (an outcome written) has no event to wait for. */
export async function untilQueue(bus: Bus, name: string, looks: (state: QueueState) => boolean): Promise<QueueState> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const state = await stateOf(bus, name);
    if (looks(state)) return state;
    if (Date.now() > deadline) throw new Error(`queue ${name} never looked as expected: ${JSON.stringify(state)}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export async function stateOf(bus: Bus, name: string): Promise<QueueState> {
  const state = (await bus.inspect()).find((queue) => queue.name === name);
  if (state === undefined) throw new Error(`no queue ${name}`);
  return state;
}

/** Requeues to the end; answers how many. */
export function requeueAll(bus: Bus, queue: string, filter: MessageFilter = {}): Promise<number> {
  return inParts((from) => bus.requeue(queue, { filter, ...from }));
}

/** Purges to the end; answers how many. */
export function purgeAll(bus: Bus, queue: string, which: { readonly dead: boolean; readonly filter?: MessageFilter }): Promise<number> {
  return inParts((from) => bus.purge(queue, { filter: {}, ...which, ...from }));
}

/** Nothing left to handle: neither ready, waiting nor under way. */
export function isEmpty({ ready, waiting, inFlight }: QueueState): boolean {
  return ready.urgent + ready.normal + ready.bulk + waiting + inFlight === 0;
}

export async function within<T>(ms: number, promise: Promise<T>, otherwise: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error(`after ${ms} ms: ${otherwise()}`)), ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
