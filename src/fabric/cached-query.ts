import { Call, cancelledFault } from '../kernel/call.ts';
import type { Clock, EpochMs } from '../kernel/clock.ts';
import type { CacheRule } from '../kernel/contract.ts';
import { Fault, toFault } from '../kernel/fault.ts';
import type { LocalCache } from '../ports/cache.ts';
import { Entry, type EntryTimes } from './cache-entry.ts';
import type { CacheTally } from './cache-tally.ts';
import { Flight } from './flight.ts';
import { freezeJson, sameJson } from './json-values.ts';
import { RecentDrops } from './recent-drops.ts';
import { RETURN_MS } from './patience.ts';
import type { SharedAnswers } from './shared-answers.ts';
import type { Implementation } from './target.ts';

interface CachedQueryParts {
  /** Apart from every other operation's, and from other versions of this one. */
  readonly name: string;
  /** The operation's own. */
  readonly timeoutMs: number;
  readonly rule: CacheRule<unknown>;
  readonly callee: Implementation[string];
  readonly local: LocalCache;
  readonly shared: SharedAnswers | undefined;
  readonly tally: CacheTally;
  readonly clock: Clock;
}

interface Found {
  readonly request: unknown;
  readonly value: unknown;
  readonly askedAt: EpochMs;
  readonly token: number;
  readonly origin: 'shared' | 'miss';
}

/** The last quarter of an entry's time is for asking anew; in the shared tier it makes room then, so that one host does it for all. */
const REFRESH_AT = 0.75;
/** A refresh that failed is tried again after this share of the ttl: at most five times before the entry is too old. */
const REFRESH_PAUSE = 0.05;
/** After a failure a stale answer is given at once; this long, or until the next try has ended. */
const UNWELL_MS = 1_000;
/** How soon after a failure the next try begins, behind the caller's back. */
const RETRY_MS = 250;
/** How far the clocks of two hosts may be apart. */
const SKEW_MS = 1_000;
/** Above an operation's time-out: how late an answer can come in and be stored. */
const SLACK_MS = 2_000;
const MOST_DROPS = 16_384;
const MOST_WORKSPACES = 100_000;
/** Codes of faults that answer the question, so that what was kept is known to be wrong. */
const ANSWERS: ReadonlySet<string> = new Set(['not_found', 'invalid', 'conflict', 'denied', 'unauthenticated']);

/** Of keys in this process, where a name of its own for each operation and workspace would cost more than the rest of a hit. */
let namesGiven = 0;

/** One cached operation; see `cached` for what holds. */
export class CachedQuery {
  readonly #parts: CachedQueryParts;
  readonly #times: EntryTimes;
  readonly #tombstoneMs: number;
  readonly #drops: RecentDrops;
  readonly #flights = new Map<string, Flight<Entry>>();
  /** What a workspace's keys begin with in this process. */
  readonly #prefixes = new Map<string, string>();

  constructor(parts: CachedQueryParts) {
    const { rule: { ttlMs, staleIfErrorMs = 0 }, timeoutMs } = parts;
    this.#parts = parts;
    this.#times = { ttlMs, refreshAfterMs: ttlMs * REFRESH_AT, staleIfErrorMs };
    this.#tombstoneMs = timeoutMs + SLACK_MS;
    this.#drops = new RecentDrops(Math.max(ttlMs, this.#tombstoneMs) + SKEW_MS, MOST_DROPS);
  }

  ask(request: unknown, call: Call): Promise<unknown> {
    const key = call.workspace === null ? undefined : this.#keyFor(call.workspace, request);
    if (key === undefined) return this.#parts.callee(request, call);
    const now = this.#parts.clock.now();
    const over = whyOver(call, now);
    if (over !== undefined) return Promise.reject(over);
    const entry = this.#entry(key, request);
    if (entry === undefined || !entry.isFresh(now)) return this.#fetch(key, request, call, entry, now);
    this.#parts.tally.add('hit');
    if (now >= entry.refreshAt) this.#refresh(key, entry, call, now);
    return entry.answer;
  }

  /** Drops one entry, by the key that its rule's `keyBy` gives. */
  drop(workspace: string, key: string): void {
    this.#parts.tally.add('drop');
    this.#forget(this.#key(workspace, key), workspace);
  }

  /** Drops every entry; what others have stored in the shared tier before now does not count any more. */
  dropAll(): void {
    this.#parts.tally.add('drop');
    this.#drops.addAll(this.#parts.clock.now());
    this.#flights.clear();
  }

  /** A key that cannot be made is the callee's to refuse, as it would without a cache. */
  #keyFor(workspace: string, request: unknown): string | undefined {
    try {
      return this.#key(workspace, this.#parts.rule.keyBy(request));
    } catch {
      return undefined;
    }
  }

  #key(workspace: string, key: string): string {
    return (this.#prefixes.get(workspace) ?? this.#name(workspace)) + key;
  }

  #name(workspace: string): string {
    if (this.#prefixes.size === MOST_WORKSPACES) {
      this.#prefixes.clear();
      // What was dropped under the old names is not known by the new ones.
      this.#drops.addAll(this.#parts.clock.now());
    }
    const prefix = `${(namesGiven++).toString(36)}:`;
    this.#prefixes.set(workspace, prefix);
    return prefix;
  }

  /** With its length in front no workspace's name can reach into another's keys. */
  #sharedKey(workspace: string, key: string): string {
    return `${this.#parts.name}:${workspace.length}:${workspace}:${key.slice(key.indexOf(':') + 1)}`;
  }

  #entry(key: string, request: unknown): Entry | undefined {
    const entry = this.#parts.local.get(key) as Entry | undefined;
    return entry !== undefined && this.#drops.outlivesAll(entry.token) && sameJson(entry.request, request) ? entry : undefined;
  }

  #fetch(key: string, request: unknown, call: Call, old: Entry | undefined, now: EpochMs): Promise<unknown> {
    if (old?.isServable(now) && this.#isUnwell(key, old, now)) {
      this.#parts.tally.add('stale');
      if (now >= old.failedAt + RETRY_MS) this.#refresh(key, old, call, now);
      return old.answer;
    }
    const flight = this.#join(key, request, call, now, old?.isServable(now) === true);
    if (flight === undefined) {
      this.#parts.tally.add('miss');
      return this.#parts.callee(request, call);
    }
    const until = Math.min(call.deadline, now + this.#parts.timeoutMs);
    return flight.wait(call, this.#parts.clock).then(
      ({ origin, value }) => {
        this.#parts.tally.add(origin);
        return value;
      },
      (fault: Fault) => this.#fallBack(fault, flight, key, request, call, until),
    );
  }

  #isUnwell(key: string, { failedAt }: Entry, now: EpochMs): boolean {
    return now < failedAt + UNWELL_MS || (failedAt > 0 && this.#flights.get(key)?.background === true);
  }

  /** The flight for this very question; undefined when another question is under way under its key, or it is not JSON. */
  #join(key: string, request: unknown, call: Call, now: EpochMs, hasStale: boolean): Flight<Entry> | undefined {
    const flight = this.#flights.get(key);
    if (flight !== undefined && now < flight.end) return sameJson(flight.request, request) ? flight : undefined;
    const copy = copyOf(request);
    return copy === undefined ? undefined : this.#begin(key, copy, call, now, undefined, hasStale ? 0 : RETURN_MS);
  }

  #refresh(key: string, entry: Entry, call: Call, now: EpochMs): void {
    if (this.#flights.has(key)) return;
    entry.refreshAt = now + Math.max(this.#times.ttlMs * REFRESH_PAUSE, 1);
    this.#begin(key, entry.request, call, now, entry, 0);
  }

  /**
   * @param refreshes What it is to replace; it then has nobody who waits.
   * @param patienceMs For how long a callee that is being started again may be waited for. With a stale answer at hand nobody has to.
   */
  #begin(key: string, request: unknown, call: Call, now: EpochMs, refreshes: Entry | undefined, patienceMs: number): Flight<Entry> {
    const deadline = now + this.#parts.timeoutMs;
    const flight = new Flight<Entry>({ request, token: this.#drops.token, deadline, end: deadline + patienceMs, background: refreshes !== undefined }, () => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    this.#flights.set(key, flight);
    const { shared } = this.#parts;
    flight.begin(shared?.reachable ? async () => (await this.#fromShared(shared, key, flight, call.workspace!, refreshes)) ?? this.#fromCallee(key, flight, call) : () => this.#fromCallee(key, flight, call));
    return flight;
  }

  /** What another host has asked for, unless it is too old, or older than a drop that this host knows of. */
  async #fromShared(shared: SharedAnswers, key: string, { request, token }: Flight<Entry>, workspace: string, refreshes: Entry | undefined): Promise<Entry | undefined> {
    const found = await shared.find(this.#sharedKey(workspace, key), request);
    if (found === undefined) return undefined;
    const now = this.#parts.clock.now();
    const oldestAt = refreshes === undefined ? now - this.#times.ttlMs : Math.max(now - this.#times.refreshAfterMs, refreshes.askedAt);
    const known = found.askedAt > oldestAt && found.askedAt <= now + SKEW_MS && found.askedAt > this.#drops.lastAt(key) + SKEW_MS;
    return known ? this.#keep(key, { request, value: found.value, askedAt: Math.min(found.askedAt, now), token, origin: 'shared' }) : undefined;
  }

  async #fromCallee(key: string, { request, token, deadline, end, signal }: Flight<Entry>, { id, workspace, actor, trace }: Call): Promise<Entry> {
    const { callee, clock, shared } = this.#parts;
    const askedAt = clock.now();
    try {
      const value = await callee(request, new Call({ id, workspace, actor, trace, deadline: end, signal }));
      const found = { request, value, askedAt, token, origin: 'miss' } as const;
      // Of one that waited for longer it is not known whether it was dropped in between.
      if (clock.now() >= askedAt + this.#tombstoneMs) return this.#entryOf(key, found);
      const entry = this.#keep(key, found);
      const leftMs = entry.refreshAt - clock.now();
      // Later than this its drop's tombstone may be gone.
      if (leftMs > 0 && clock.now() < deadline + SLACK_MS / 2 && this.#drops.isCurrent(key, token)) shared?.add(this.#sharedKey(workspace!, key), request, entry, leftMs);
      return entry;
    } catch (thrown) {
      throw this.#learn(key, workspace!, request, toFault(thrown));
    }
  }

  #entryOf(key: string, found: Found): Entry {
    const bytes = freezeJson(found.request) + freezeJson(found.value) + 2 * key.length;
    return new Entry({ ...found, bytes }, this.#times);
  }

  #keep(key: string, found: Found): Entry {
    const entry = this.#entryOf(key, found);
    if (this.#drops.isCurrent(key, found.token)) this.#parts.local.set(key, entry);
    return entry;
  }

  #learn(key: string, workspace: string, request: unknown, fault: Fault): Fault {
    if (isOutage(fault)) {
      const old = this.#entry(key, request);
      if (old !== undefined) old.failedAt = this.#parts.clock.now();
    } else if (fault.origin === 'reply' && ANSWERS.has(fault.code) && this.#parts.local.get(key) !== undefined) {
      this.#forget(key, workspace);
    }
    return fault;
  }

  /** Somebody who joined late has time left when the flight's is over, and asks again. */
  #fallBack(fault: Fault, flight: Flight<Entry>, key: string, request: unknown, call: Call, until: EpochMs): Promise<unknown> {
    const now = this.#parts.clock.now();
    if (fault === flight.failure && isOutage(fault)) {
      const old = this.#entry(key, request);
      if (old?.isServable(now)) {
        this.#parts.tally.add('stale');
        return old.answer;
      }
      if (fault.code === 'deadline' && until > flight.deadline && now < until) return this.ask(request, call.with({ deadline: until }));
    }
    this.#parts.tally.add('miss');
    return Promise.reject(fault);
  }

  /** Whoever asks after this joins no call that began before it. */
  #forget(key: string, workspace: string): void {
    this.#drops.add(key, this.#parts.clock.now());
    this.#flights.delete(key);
    this.#parts.local.delete(key);
    this.#parts.shared?.drop(this.#sharedKey(workspace, key), this.#tombstoneMs);
  }
}

/** As on every placement, a call that is over before it began does not run, not even from memory. */
function whyOver(call: Call, now: EpochMs): Fault | undefined {
  if (call.cancelSignal?.aborted) return new Fault('cancelled', 'The caller cancelled before the call began.', { origin: 'unsent', cause: cancelledFault(call.cancelSignal) });
  if (call.deadline <= now) return new Fault('deadline', 'The deadline had passed before the call began.', { origin: 'unsent' });
  return undefined;
}

/** The callee did not answer, or could not: as against a fault that is its answer. */
function isOutage({ code, origin }: Fault): boolean {
  return code !== 'cancelled' && (origin !== 'reply' || code === 'unavailable' || code === 'deadline');
}

/** The caller's own object may change while its question is under way. */
function copyOf(request: unknown): unknown {
  try {
    return JSON.parse(JSON.stringify(request)) as unknown;
  } catch {
    return undefined;
  }
}
