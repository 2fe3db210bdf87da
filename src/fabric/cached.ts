import type { Clock } from '../kernel/clock.ts';
import type { Contract, Descriptor, Query } from '../kernel/contract.ts';
import { Fault } from '../kernel/fault.ts';
import type { Log, Metrics } from '../kernel/telemetry.ts';
import type { LocalCache, SharedCache } from '../ports/cache.ts';
import { type CacheCounts, CacheTally } from './cache-tally.ts';
import { CachedQuery } from './cached-query.ts';
import { SharedAnswers } from './shared-answers.ts';
import { type Implementation, stubOf } from './target.ts';

export interface CacheParts {
  /** This contract's alone. */
  readonly local: LocalCache;
  /** Started and stopped by whoever made it. May be shared by contracts. */
  readonly shared?: SharedCache;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** An entry that has become outdated: one of `method`'s, under the key that its rule's `keyBy` gives. */
interface CacheDrop {
  readonly method: string;
  readonly key: string;
}

export interface Cached<T> {
  /** What callers inject instead of the stub behind it. */
  readonly stub: T;
  /**
   * An event has arrived. Drops what the contract's `dropOn` rules name, in the event's workspace; an event without one
   * drops every entry of those operations. Events that no rule names, and twice the same, do no harm. Never throws.
   */
  drop(eventName: string, workspace: string | null, payload: unknown): void;
  /** Events may have been missed: forgets all, and believes nothing that the shared tier was given before now. */
  dropAll(): void;
  /** By method; cached ones only. */
  stats(): { readonly entries: number; readonly operations: Readonly<Record<string, CacheCounts>> };
  /** Passes the last counts on and leaves no timer. The stub goes on working. */
  close(): void;
}

/**
 * Puts a cache in front of a contract's stub, for callers in another process. Queries with a `cache` rule answer from it;
 * everything else is the stub's own method.
 *
 * - **Key**: contract and its hash, method, workspace, and `keyBy(request)`. An entry also holds its request, and answers
 *   that one only: a `keyBy` that leaves something out costs hits, never a wrong answer, and a drop by key still finds
 *   everything under it. Calls without a workspace pass through.
 * - **Age**: counted from when the question was asked. Up to `ttlMs` an answer is given at once; in its last quarter a hit
 *   asks anew in the background, so that what is asked for often never misses. Up to `staleIfErrorMs` longer it stands
 *   in when the callee cannot be reached (`unavailable`, `deadline`, or a call lost or unsent). From such a failure on, for
 *   a second or until the next try has ended, nobody waits for the callee before being given it.
 * - **Single flight**: the same question at the same time is one call with the operation's whole time-out. Everybody
 *   waits by their own deadline and cancellation.
 * - **Faults** are not kept. One that answers (`not_found`, …) drops the entry that it contradicts.
 * - **Drops**: who asks after a drop gets an answer that was asked for after it. Here: the entry goes, no caller joins a
 *   call that began before, and that call's answer is not kept. In the shared tier a drop writes a tombstone (`set`) and
 *   answers are stored only where nothing stands (`add`), so that an answer asked for before the drop and coming in
 *   after it, on any host, finds the tombstone. It lives for the operation's time-out and two seconds: the time-out ends
 *   the call, and what still comes in a second later is not stored any more. Where the tombstone could not be written,
 *   each host's own memory of recent drops refuses what the shared tier has from before (clocks of hosts may be a second
 *   apart). What remains: a host that was started after such a drop, or for which the server evicted the tombstone, may
 *   be given the outdated answer until its ttl ends.
 * - **Own writes**: what a command may have changed is known only to its events, which take their time. So from the reply
 *   to a command, or from not knowing what became of it, this process believes no answer from before, of any query whose
 *   entries events can drop.
 * - **Answers are frozen**: whoever writes into one gets a TypeError instead of changing it for everybody. What the stub
 *   answers must therefore be the caller's own, as it is when it comes over a wire.
 */
export function cached<T>(contract: Contract<T>, stub: T, { local, shared, clock, metrics, log }: CacheParts): Cached<T> {
  const queries = new Map<string, CachedQuery>();
  const tallies = new Map<string, CacheTally>();
  const inner = stub as Implementation;
  const applyDrops = (workspace: string | null, drops: readonly CacheDrop[]): void => {
    for (const { method, key } of drops) {
      if (workspace === null) queries.get(method)?.dropAll();
      else queries.get(method)?.drop(workspace, key);
    }
  };
  const dropAll = (): void => {
    for (const query of queries.values()) query.dropAll();
    local.clear();
  };
  const outer = stubOf(contract, (method, descriptor) => {
    const callee = inner[method]!;
    if (!isCached(descriptor)) return descriptor.kind === 'command' && outdates(contract) ? (request, call) => afterwards(callee(request, call), dropAll) : callee;
    const tally = new CacheTally({ contract: contract.name, method }, metrics, clock);
    const answers = shared === undefined ? undefined : new SharedAnswers(shared, descriptor.output);
    const name = `${contract.name}.${method}@${contract.hash}`;
    const query = new CachedQuery({ name, timeoutMs: descriptor.timeoutMs, rule: descriptor.cache, callee, local, shared: answers, tally, clock });
    tallies.set(method, tally);
    queries.set(method, query);
    return (request, call) => query.ask(request, call);
  });
  return {
    stub: outer,
    drop(eventName, workspace, payload) {
      try {
        applyDrops(workspace, dropsFor(contract, eventName, payload));
      } catch (thrown) {
        // Which entry it means cannot be told; the payload itself may be personal.
        log.warn({ contract: contract.name, event: eventName, err: (thrown as Error).name }, 'cannot tell what an event drops from the cache; dropping all');
        dropAll();
      }
    },
    dropAll,
    stats: () => ({ entries: local.size, operations: Object.fromEntries([...tallies].map(([method, { counts }]) => [method, counts])) }),
    close() {
      for (const tally of tallies.values()) tally.flush();
    },
  };
}

/** Which entries an event outdates, by the contract's `dropOn` rules. */
function dropsFor(contract: Contract<any>, eventName: string, payload: unknown): CacheDrop[] {
  return Object.entries(contract.operations).flatMap(([method, descriptor]) => {
    const rules = isCached(descriptor) ? (descriptor.cache.dropOn ?? []) : [];
    return rules.filter(({ event }) => event === eventName).map(({ keyOf }) => ({ method, key: keyOf(payload) }));
  });
}

/** Whether anything that a module does makes kept answers of its contract wrong. */
function outdates({ operations }: Contract<any>): boolean {
  return Object.values<Descriptor>(operations).some((descriptor) => isCached(descriptor) && (descriptor.cache.dropOn ?? []).length > 0);
}

/** Before whoever waits for the answer goes on. A command that was refused has changed nothing. */
async function afterwards(answer: Promise<unknown>, act: () => void): Promise<unknown> {
  try {
    const value = await answer;
    act();
    return value;
  } catch (thrown) {
    if (!Fault.is(thrown) || thrown.origin === 'lost') act();
    throw thrown;
  }
}

type CachedDescriptor = Query<any, any> & Required<Pick<Query<any, any>, 'cache'>>;

function isCached(descriptor: { readonly kind: string }): descriptor is CachedDescriptor {
  return descriptor.kind === 'query' && (descriptor as Query<any, any>).cache !== undefined;
}
