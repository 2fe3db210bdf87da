import { z } from 'zod';
import { localCacheDrivers } from '../../adapters/cache/catalog.ts';
import { Call } from '../../src/kernel/call.ts';
import type { Clock, EpochMs } from '../../src/kernel/clock.ts';
import { command, contract, outdatedBy, query } from '../../src/kernel/contract.ts';
import { Fault } from '../../src/kernel/fault.ts';
import { event } from '../../src/kernel/message.ts';
import type { Metrics } from '../../src/kernel/telemetry.ts';
import { type Cached, cached } from '../../src/fabric/cached.ts';
import type { LocalCache, SharedCache } from '../../src/ports/cache.ts';
import { noMetrics, silentLog, testContext } from './context.ts';
import { FakeClock } from './fake-clock.ts';

const Get = z.object({ id: z.string(), detail: z.string().optional() });
type Get = z.infer<typeof Get>;
const Item = z.object({ id: z.string(), version: z.int(), workspace: z.string().nullable(), tags: z.array(z.string()) });
export type Item = z.infer<typeof Item>;

export const TTL_MS = 10_000;
export const STALE_MS = 60_000;
export const TIMEOUT_MS = 2_000;
export const itemChanged = event('pantry.item-changed', z.object({ id: z.string() }));
const byId = (request: Get): string => request.id;

export interface Pantry {
  get(request: Get, call: Call): Promise<Item>;
  /** The same, without an answer that is older than its ttl. */
  getStrictly(request: Get, call: Call): Promise<Item>;
  list(request: Get, call: Call): Promise<Item>;
  put(request: Get, call: Call): Promise<Item>;
}
const operation = { input: Get, output: Item, timeoutMs: TIMEOUT_MS };
const dropOn = [outdatedBy(itemChanged, (e) => e.id)];
export const pantry = contract<Pantry>('pantry', {
  get: query({ ...operation, faults: ['item_not_found'], cache: { ttlMs: TTL_MS, staleIfErrorMs: STALE_MS, keyBy: byId, dropOn } }),
  getStrictly: query({ ...operation, cache: { ttlMs: TTL_MS, keyBy: byId, dropOn } }),
  list: query(operation),
  put: command(operation),
});

interface Asked {
  readonly method: string;
  readonly request: Get;
  readonly call: Call;
  answer(item?: Partial<Item>): void;
  fail(thrown: unknown): void;
}

/** A callee that answers when the test says so, or at once by `auto`. */
export class PantryCallee {
  readonly asked: Asked[] = [];
  auto: ((request: Get, call: Call) => Item | Promise<Item>) | undefined;
  readonly stub: Pantry;

  constructor() {
    const method = (name: string) => (request: Get, call: Call): Promise<Item> =>
      new Promise((resolve, reject) => {
        const item: Item = { id: request?.id, version: this.asked.length, workspace: call.workspace, tags: ['a'] };
        this.asked.push({ method: name, request, call, answer: (change) => resolve({ ...item, ...change }), fail: reject });
        if (this.auto !== undefined) Promise.resolve().then(() => this.auto!(request, call)).then(resolve, reject);
      });
    this.stub = { get: method('get'), getStrictly: method('getStrictly'), list: method('list'), put: method('put') };
  }

  get last(): Asked {
    return this.asked.at(-1)!;
  }
}

export function itemOf({ id }: Get, { workspace }: Call, version = 0): Item {
  return { id, version, workspace, tags: ['a'] };
}

export function localCache(settings: object = {}): LocalCache {
  const context = testContext();
  context.remove();
  return localCacheDrivers.lru.create(localCacheDrivers.lru.settings.parse(settings), context);
}

export function cachedPantry(callee: PantryCallee, clock: Clock, parts: { shared?: SharedCache; metrics?: Metrics; local?: LocalCache } = {}): Cached<Pantry> {
  return cached(pantry, callee.stub, { local: localCache(), metrics: noMetrics, log: silentLog, clock, ...parts });
}

export function callAt(now: EpochMs, over: Partial<ConstructorParameters<typeof Call>[0]> = {}): Call {
  return new Call({ workspace: 'w1', actor: { kind: 'user', id: 'u1' }, deadline: now + 60_000, ...over });
}

/** A cache in front of a healthy callee, each of whose answers is one version on. */
export function pantryRig(parts: Parameters<typeof cachedPantry>[2] = {}) {
  const clock = new FakeClock();
  const callee = new PantryCallee();
  const cache = cachedPantry(callee, clock, parts);
  let version = 0;
  const healthy = (request: Get, call: Call) => itemOf(request, call, ++version);
  callee.auto = healthy;
  const call = (over: Parameters<typeof callAt>[1] = {}) => callAt(clock.now(), over);
  const get = async (id = 'a', over: Parameters<typeof callAt>[1] = {}) => (await cache.stub.get({ id }, call(over))).version;
  return { clock, callee, cache, call, get, healthy };
}

/** Every promise that can settle has. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export const away = (): Fault => new Fault('unavailable', 'Nobody is there.', { origin: 'unsent' });

/** The shared tier without a server: by the same clock as everything else, each step at a time that `travel` chooses. */
export class SharedMap implements SharedCache {
  reachable = true;
  readonly away: readonly string[] = [];
  readonly texts = new Map<string, { text: string; until: EpochMs }>();
  readonly #clock: Clock;
  readonly #travel: () => Promise<unknown>;

  constructor(clock: Clock, travel: () => Promise<unknown> = () => Promise.resolve()) {
    this.#clock = clock;
    this.#travel = travel;
  }

  async start(): Promise<void> {}
  async stop(): Promise<void> {}

  async get(key: string): Promise<string | undefined> {
    await this.#travel();
    const text = this.#standing(key);
    await this.#travel();
    return text;
  }

  async add(key: string, text: string, ttlMs: number): Promise<void> {
    await this.#travel();
    if (this.#standing(key) === undefined) this.texts.set(key, { text, until: this.#clock.now() + ttlMs });
  }

  async set(key: string, text: string, ttlMs: number): Promise<void> {
    await this.#travel();
    this.texts.set(key, { text, until: this.#clock.now() + ttlMs });
  }

  #standing(key: string): string | undefined {
    const found = this.texts.get(key);
    return found !== undefined && found.until > this.#clock.now() ? found.text : undefined;
  }
}
