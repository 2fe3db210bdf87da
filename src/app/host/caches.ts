import { localCacheDrivers } from '../../../adapters/cache/catalog.ts';
import type { Contract, Descriptor } from '../../kernel/contract.ts';
import type { DriverContext } from '../../kernel/driver.ts';
import type { EdgeStatus } from '../../kernel/system.ts';
import type { Bus } from '../../ports/bus.ts';
import type { SharedCache } from '../../ports/cache.ts';
import { type Cached, cached } from '../../fabric/cached.ts';
import type { Config } from '../config/config.ts';
import type { Parts } from '../config/parts.ts';
import { createSharedCache } from './drivers.ts';
import { cacheAway, type Trouble } from './trouble.ts';

interface CacheInFront {
  readonly cached: Cached<unknown>;
  /** Events that outdate its answers. */
  readonly topics: readonly string[];
  readonly shared: SharedCache | undefined;
}

/** The caches in front of what this process calls elsewhere, as the topology asks for them. */
export class Caches {
  readonly #config: Config;
  readonly #parts: Parts;
  readonly #context: DriverContext;
  readonly #byContract = new Map<string, CacheInFront>();
  /** By their names in the configuration. */
  readonly #shared = new Map<string, SharedCache>();
  readonly #unwatch: (() => void)[] = [];

  constructor({ config, parts, context }: { readonly config: Config; readonly parts: Parts; readonly context: DriverContext }) {
    this.#config = config;
    this.#parts = parts;
    this.#context = context;
  }

  /** The stub itself where no cache is asked for. Before `start`. */
  inFrontOf<T>(contract: Contract<T>, stub: T): T {
    const wanted = this.#config.calls[contract.name]?.cache;
    if (wanted === undefined) return stub;
    const shared = wanted.shared === undefined ? undefined : this.#sharedBy(wanted.shared);
    const { lru } = localCacheDrivers;
    const local = lru.create(lru.settings.parse({ entries: wanted.entries }), this.#context);
    const inFront = cached(contract, stub, { local, ...(shared === undefined ? {} : { shared }), ...this.#context });
    this.#byContract.set(contract.name, { cached: inFront as Cached<unknown>, topics: topicsOf(contract), shared });
    return inFront.stub;
  }

  async start(): Promise<void> {
    await Promise.all([...this.#shared.values()].map((shared) => shared.start()));
  }

  async stop(deadlineMs: number): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    for (const { cached: inFront } of this.#byContract.values()) inFront.close();
    await Promise.all([...this.#shared.values()].map((shared) => shared.stop(deadlineMs)));
  }

  /** From now on events outdate answers. What was answered before may be outdated already. */
  watch(bus: Bus): void {
    for (const { cached: inFront, topics } of this.#byContract.values()) {
      if (topics.length === 0) continue;
      this.#unwatch.push(bus.watch(topics, { message: (topic, workspace, payload) => inFront.drop(topic, workspace, valueOf(payload)), gap: () => inFront.dropAll() }));
      inFront.dropAll();
    }
  }

  /** Caches that hosts have in common and that are not there. */
  problems(): Trouble[] {
    return [...this.#shared].flatMap(([name, { away, reachable }]) => (away.length === 0 ? [] : [cacheAway(name, this.#config.caches[name]!.driver, away, reachable)]));
  }

  figures(contract: string): EdgeStatus['cache'] {
    const found = this.#byContract.get(contract);
    if (found === undefined) return null;
    const { entries, operations } = found.cached.stats();
    const sum = (of: 'hit' | 'shared' | 'miss' | 'stale' | 'drop') => Object.values(operations).reduce((total, counts) => total + counts[of], 0);
    return { entries, hits: sum('hit'), sharedHits: sum('shared'), misses: sum('miss'), stale: sum('stale'), drops: sum('drop'), sharedReachable: found.shared?.reachable ?? null };
  }

  #sharedBy(name: string): SharedCache {
    const shared = this.#shared.get(name) ?? createSharedCache(this.#config.caches[name]!, this.#parts, this.#context);
    this.#shared.set(name, shared);
    return shared;
  }
}

/** Undefined for what is no JSON, as programs of others may send it: it names no entry, so all are dropped. An error about it would quote it. */
function valueOf(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return undefined;
  }
}

function topicsOf({ operations }: Contract<any>): string[] {
  const rules = Object.values<Descriptor>(operations).flatMap((descriptor) => (descriptor.kind === 'query' ? (descriptor.cache?.dropOn ?? []) : []));
  return [...new Set(rules.map(({ event }) => event))];
}
