import type { EpochMs } from '../../../src/kernel/clock.ts';

/** The ready messages of one workspace in one lane of one queue. */
export interface Stream {
  readonly workspace: number;
  /** Everything up to this message is under way, held, or gone. Only a shortcut: what is under way is skipped anyway. */
  after: number;
  /** When its first message became due. */
  headDue: EpochMs;
}

/**
 * The workspaces that have ready messages in one lane, each served in turn, so that one with a million messages waits
 * as long for its next as one with a single message. Grows with the workspaces that have work, not with the work.
 */
export class Rotation {
  // A Map keeps the order of insertion: served streams go to its end.
  readonly #active = new Map<number, Stream>();
  readonly #parked = new Map<number, Stream>();

  get size(): number {
    return this.#active.size;
  }

  /** Whose turn it is. */
  first(): Stream | undefined {
    return this.#active.values().next().value;
  }

  /** A message is ready at `seq`. */
  add(workspace: number, seq: number, due: EpochMs, paused: boolean): void {
    const stream = this.#active.get(workspace) ?? this.#parked.get(workspace);
    if (stream === undefined) {
      (paused ? this.#parked : this.#active).set(workspace, { workspace, after: seq - 1, headDue: due });
    } else if (seq <= stream.after) {
      stream.after = seq - 1;
      stream.headDue = Math.min(stream.headDue, due);
    }
  }

  /** Served: to the end of the line. */
  served(stream: Stream): void {
    this.#active.delete(stream.workspace);
    this.#active.set(stream.workspace, stream);
  }

  /** Nothing ready is left. */
  drained(stream: Stream): void {
    this.#active.delete(stream.workspace);
  }

  pause(workspace: number): void {
    move(workspace, this.#active, this.#parked);
  }

  resume(workspace: number): void {
    move(workspace, this.#parked, this.#active);
  }

  clear(): void {
    this.#active.clear();
    this.#parked.clear();
  }

  /** When the oldest ready message became due; Infinity when there is none. */
  oldestDue(): EpochMs {
    let oldest = Infinity;
    for (const stream of this.#active.values()) oldest = Math.min(oldest, stream.headDue);
    for (const stream of this.#parked.values()) oldest = Math.min(oldest, stream.headDue);
    return oldest;
  }

  /** The same of one workspace. */
  dueOf(workspace: number): EpochMs {
    return (this.#active.get(workspace) ?? this.#parked.get(workspace))?.headDue ?? Infinity;
  }
}

function move(workspace: number, from: Map<number, Stream>, to: Map<number, Stream>): void {
  const stream = from.get(workspace);
  if (stream === undefined) return;
  from.delete(workspace);
  to.set(workspace, stream);
}
