import { Fault } from '../../../src/kernel/fault.ts';

/** A version is slow whose renderings take the processor so long on average. */
const SLOW_MS = 25;
/** What the newest rendering counts in the mean, which begins at 0: one of 0.2 s is enough, or several shorter ones. */
const NEWEST = 1 / 8;
/** Ordinary versions are far below, and nothing is kept of them. */
const WORTH_KEEPING_MS = 1;
const MOST_KEPT = 1_000;
/** Sends that wait for the slow lane hold places of the send queue: few altogether, and few of one version. */
const PLACES = 16;
const PLACES_EACH = 4;
const SHORTEST_WAIT_MS = 1_000;
/** So long a send waits at most before it looks again, since its author may have published a quicker version. */
const LONGEST_WAIT_MS = 15 * 60_000;

interface Version {
  meanMs: number;
  /** Of the newest rendering. */
  lastMs: number;
  places: number;
  /** When the last of those that were put off is to come again. */
  appointedAt: number;
}

/**
 * Which template versions take long, and how many of their sends may wait for the slow lane at once. The others are
 * given times one rendering apart, so that each comes back about when its turn is.
 */
export class SlowVersions {
  // In the order of their last rendering.
  readonly #versions = new Map<string, Version>();
  #places = 0;

  /** One more rendering of the version took so much processor time. */
  note(key: string, ms: number): void {
    const version = this.#versions.get(key) ?? { meanMs: 0, lastMs: 0, places: 0, appointedAt: 0 };
    this.#versions.delete(key);
    version.meanMs += (ms - version.meanMs) * NEWEST;
    version.lastMs = ms;
    if (version.meanMs < WORTH_KEEPING_MS) return;
    this.#versions.set(key, version);
    if (this.#versions.size > MOST_KEPT) this.#versions.delete(this.#versions.keys().next().value!);
  }

  isSlow(key: string): boolean {
    return (this.#versions.get(key)?.meanMs ?? 0) >= SLOW_MS;
  }

  /** Takes a place and answers what gives it back, once. Fault `exhausted`, reason `renderer_busy`, details.retryAfterMs. */
  enter(key: string): () => void {
    const version = this.#versions.get(key);
    // Forgotten for others meanwhile: it will be known again soon.
    if (version === undefined) return () => {};
    if (this.#places >= PLACES || version.places >= PLACES_EACH) throw busy(appoint(version));
    this.#places++;
    version.places++;
    return () => {
      this.#places--;
      version.places--;
    };
  }
}

/** How long until its turn. */
function appoint(version: Version): number {
  const now = Date.now();
  version.appointedAt = Math.min(Math.max(version.appointedAt + version.lastMs, now + SHORTEST_WAIT_MS), now + LONGEST_WAIT_MS);
  return Math.ceil(version.appointedAt - now);
}

function busy(retryAfterMs: number): Fault {
  return new Fault('exhausted', 'The template takes long to render, and others wait for it already.', { reason: 'renderer_busy', details: { retryAfterMs } });
}
