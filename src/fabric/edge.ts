import type { FaultCode } from '../kernel/fault.ts';

/** What became of the calls to one module from here, in the last minute. */
export interface EdgeFigures {
  readonly callsPerSecond: number;
  readonly failedPerSecond: number;
  /** Without calls that wait on purpose; null when there were no others. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  /** Since the start. */
  readonly calls: number;
  readonly failed: number;
  readonly retried: number;
  /** Under way now, those included that wait for a process to call. */
  readonly pending: number;
}

/** All that has been counted since the start, for whoever computes rates itself. */
export interface EdgeTotals {
  readonly calls: number;
  readonly retried: number;
  readonly pending: number;
  readonly failures: ReadonlyMap<FaultCode, number>;
  /** Those whose time was taken: all but such as wait on purpose. */
  readonly timed: number;
  /** How long these took together. */
  readonly seconds: number;
  /** How many of these took at most so long, 7 % exact. */
  within(seconds: number): number;
}

const SLICES = 6;
const SLICE_MS = 10_000;
/** Buckets of a fifth of an octave, from 1 µs to about 70 s: 15 % exact at most. */
const PER_OCTAVE = 5;
const BUCKETS = 130;

interface Slice {
  number: number;
  calls: number;
  failed: number;
  readonly durations: Uint32Array;
}

/** Counts the calls to one module; a few nanoseconds each, and always the same memory. */
export class Edge {
  readonly #slices: Slice[] = Array.from({ length: SLICES }, () => ({ number: -1, calls: 0, failed: 0, durations: new Uint32Array(BUCKETS) }));
  readonly #startedAt = performance.now();
  readonly #durations = new Float64Array(BUCKETS);
  readonly #failures = new Map<FaultCode, number>();
  #calls = 0;
  #failed = 0;
  #retried = 0;
  #pending = 0;
  #timed = 0;
  #ms = 0;

  began(): void {
    this.#pending++;
  }

  /**
   * Of a call that began. `tookMs` from the call to its answer, retries included; null when it waited on purpose, e.g.
   * for messages, which says nothing of how fast anything is. `failure` when it failed.
   */
  ended(tookMs: number | null, failure?: FaultCode): void {
    const slice = this.#slice(performance.now());
    this.#pending--;
    this.#calls++;
    slice.calls++;
    if (tookMs !== null) {
      const bucket = bucketOf(tookMs);
      this.#timed++;
      this.#ms += tookMs;
      this.#durations[bucket]!++;
      slice.durations[bucket]!++;
    }
    if (failure === undefined) return;
    this.#failed++;
    slice.failed++;
    this.#failures.set(failure, (this.#failures.get(failure) ?? 0) + 1);
  }

  retried(): void {
    this.#retried++;
  }

  figures(): EdgeFigures {
    const now = performance.now();
    const newest = Math.floor(now / SLICE_MS);
    const recent = this.#slices.filter(({ number }) => number > newest - SLICES);
    const spanMs = Math.max(1_000, Math.min(now - this.#startedAt, (SLICES - 1) * SLICE_MS + (now % SLICE_MS)));
    const sum = (of: (slice: Slice) => number) => recent.reduce((total, slice) => total + of(slice), 0);
    const durations = new Float64Array(BUCKETS);
    for (const slice of recent) slice.durations.forEach((count, index) => (durations[index]! += count));
    return {
      callsPerSecond: sum(({ calls }) => calls) / (spanMs / 1_000),
      failedPerSecond: sum(({ failed }) => failed) / (spanMs / 1_000),
      p50Ms: quantile(durations, 0.5),
      p99Ms: quantile(durations, 0.99),
      calls: this.#calls,
      failed: this.#failed,
      retried: this.#retried,
      pending: this.#pending,
    };
  }

  totals(): EdgeTotals {
    const durations = this.#durations.slice();
    return {
      calls: this.#calls,
      retried: this.#retried,
      pending: this.#pending,
      failures: new Map(this.#failures),
      timed: this.#timed,
      seconds: this.#ms / 1_000,
      within: (seconds) => durations.reduce((total, count, bucket) => (middleOf(bucket) <= seconds * 1_000 ? total + count : total), 0),
    };
  }

  #slice(now: number): Slice {
    const number = Math.floor(now / SLICE_MS);
    const slice = this.#slices[number % SLICES]!;
    if (slice.number === number) return slice;
    slice.number = number;
    slice.calls = 0;
    slice.failed = 0;
    slice.durations.fill(0);
    return slice;
  }
}

function bucketOf(ms: number): number {
  return Math.min(BUCKETS - 1, Math.max(0, Math.round(Math.log2(Math.max(ms, 0.001) / 0.001) * PER_OCTAVE)));
}

/** In ms. */
function middleOf(bucket: number): number {
  return 0.001 * 2 ** (bucket / PER_OCTAVE);
}

function quantile(durations: Float64Array, share: number): number | null {
  const total = durations.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = Math.ceil(total * share);
  return middleOf(durations.findIndex((count) => (left -= count) <= 0));
}
