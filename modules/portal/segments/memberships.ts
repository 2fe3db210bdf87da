import { setImmediate as nextTurn } from 'node:timers/promises';
import type { StorageTransaction } from '../../../src/ports/storage.ts';
import type { PersonState } from '../people/person-state.ts';
import type { Tables } from '../tables.ts';
import type { LiveSegment, LiveSegments } from './live-segments.ts';
import { addMember, countPeople, removeMember } from './segment-rows.ts';

/** How long conditions may be asked one after the other: one alone may take some 30 ms. */
const TURN_MS = 10;

/** Who belongs to which segment, as one transaction changes it. */
export class Memberships {
  readonly #tx: StorageTransaction<Tables>;
  readonly #workspace: string;
  readonly #segments: LiveSegments;
  readonly #more = new Map<string, number>();
  #turnBegan = performance.now();
  #live: Promise<readonly LiveSegment[]> | undefined;

  constructor(tx: StorageTransaction<Tables>, workspace: string, segments: LiveSegments) {
    this.#tx = tx;
    this.#workspace = workspace;
    this.#segments = segments;
  }

  /** The segments of the workspace, read once. */
  live(): Promise<readonly LiveSegment[]> {
    return (this.#live ??= this.#segments.of(this.#tx, this.#workspace));
  }

  /** Takes note of what has become of a person; `before` is null for one who is new. */
  async follow(before: PersonState | null, after: PersonState): Promise<void> {
    const changes: Promise<void>[] = [];
    for (const segment of await this.live()) {
      if (this.isTurnOver) await this.rest();
      const belongs = segment.has(after);
      if (this.isTurnOver) await this.rest();
      // Whoever goes may still be in one whose condition is new and has not come to her yet.
      if (after.gone || belongs !== (before !== null && segment.has(before))) changes.push(this.put(segment.segmentId, after.id, belongs));
    }
    await Promise.all(changes);
  }

  /** Others have waited for long enough: `rest` before the next condition is asked. */
  get isTurnOver(): boolean {
    return performance.now() - this.#turnBegan >= TURN_MS;
  }

  async rest(): Promise<void> {
    await nextTurn();
    this.#turnBegan = performance.now();
  }

  /** Where it stands so already, nothing. */
  async put(segment: string, person: string, belongs: boolean): Promise<void> {
    const changed = await this.#tx.run(belongs ? addMember : removeMember, { workspace: this.#workspace, segment, person });
    if (changed.length > 0) this.#more.set(segment, (this.#more.get(segment) ?? 0) + (belongs ? 1 : -1));
  }

  /** Counts what has changed. Once, at the end. */
  async flush(): Promise<void> {
    const changed = [...this.#more].filter(([, more]) => more !== 0);
    await Promise.all(changed.map(([segment, more]) => this.#tx.run(countPeople, { workspace: this.#workspace, segment, more })));
  }
}
