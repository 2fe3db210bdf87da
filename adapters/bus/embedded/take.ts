import type { EpochMs } from '../../../src/kernel/clock.ts';
import { LANES } from '../../../src/kernel/message.ts';
import type { BusMemory, Tx } from './memory.ts';
import { type Flight, type Queue, turnOf } from './queue.ts';
import type { Rotation, Stream } from './rotation.ts';
import { BLOCKED } from './schema.ts';
import * as sql from './statements.ts';
import type { Worker } from './worker.ts';

/** What one transaction takes from one queue, and looks at, at most; the rest is for the next one. */
const TAKEN_AT_ONCE = 256;
const LOOKED_AT_ONCE = 1_024;
/** Where nothing could be taken, wider steps are made over what is blocked. */
const WIDEST_STEP = 256;

export interface Taking {
  readonly flights: Flight[];
  /** Stopped by its own limits: there is more to take at once. */
  readonly more: boolean;
}

/**
 * Takes as many ready messages as the queue's consumers have room for: lane after lane, within a lane the workspaces
 * in turn, within a workspace in the order of publishing.
 */
export async function takeReady(tx: Tx, memory: BusMemory, queue: Queue, now: EpochMs): Promise<Taking> {
  const taker = new Taker(tx, memory, queue, now);
  for (let lane = 0; lane < LANES.length; lane++) await taker.takeFrom(lane);
  await taker.block();
  return taker;
}

class Taker implements Taking {
  readonly flights: Flight[] = [];
  readonly #blocked: number[] = [];
  readonly #tx: Tx;
  readonly #memory: BusMemory;
  readonly #queue: Queue;
  readonly #now: EpochMs;
  #looked = 0;

  constructor(tx: Tx, memory: BusMemory, queue: Queue, now: EpochMs) {
    this.#tx = tx;
    this.#memory = memory;
    this.#queue = queue;
    this.#now = now;
  }

  get more(): boolean {
    return this.#spent && this.#worker() !== undefined;
  }

  async takeFrom(lane: number): Promise<void> {
    const rotation = this.#queue.rotations[lane]!;
    let step = 0;
    while (!this.#spent) {
      const room = this.#room();
      const stream = rotation.first();
      if (room === 0 || stream === undefined) return;
      const share = Math.ceil(room / rotation.size);
      const took = await this.#takeStream(lane, rotation, stream, share, Math.max(share, step));
      step = took === 0 ? Math.min(WIDEST_STEP, 4 * Math.max(share, step)) : 0;
    }
  }

  /** Out of the way until their turn comes, so that no later taking has to step over them. */
  async block(): Promise<void> {
    if (this.#blocked.length === 0) return;
    await this.#tx.run(sql.moveTo, { seqs: `[${this.#blocked.join(',')}]`, state: BLOCKED });
    this.#queue.blocked += this.#blocked.length;
    this.#queue.changed = true;
  }

  get #spent(): boolean {
    return this.flights.length >= TAKEN_AT_ONCE || this.#looked >= LOOKED_AT_ONCE;
  }

  /** Takes up to `share` messages of the next `step` ones; answers how many. */
  async #takeStream(lane: number, rotation: Rotation, stream: Stream, share: number, step: number): Promise<number> {
    const { id, settings } = this.#queue;
    const { workspace, after } = stream;
    const had = this.flights.length;
    // One more than is wanted: it tells whether the stream has an end here, and since when its next one waits.
    const rows = await this.#tx.run(settings.ordered ? sql.takeOrdered : sql.take, { queue: id, lane, workspace, after, limit: step + 1 });
    let i = 0;
    for (; i < Math.min(rows.length, step) && this.flights.length - had < share; i++) this.#consider(rows[i]!, lane, workspace);
    this.#looked += i;
    const next = rows[i];
    if (next === undefined) {
      rotation.drained(stream);
    } else {
      stream.after = next.seq - 1;
      stream.headDue = next.due;
      rotation.served(stream);
    }
    return this.flights.length - had;
  }

  #consider(row: sql.TakenRow, lane: number, workspace: number): void {
    const queue = this.#queue;
    if (queue.flights.has(row.seq)) return;
    const turn = queue.settings.ordered ? row.key : null;
    if (turn !== null && (row.head !== row.seq || queue.busy.has(turnOf(workspace, turn)))) {
      this.#blocked.push(row.seq);
      return;
    }
    if (row.suspect === 1 && queue.hold(lane, workspace, row.seq, row.due, this.#now)) return;
    const flight = this.#flightOf(row, lane, workspace, turn);
    queue.takeOff(flight, this.#now);
    this.flights.push(flight);
  }

  #flightOf(row: sql.TakenRow, lane: number, workspace: number, turn: string | null): Flight {
    const { seq, id, name, key, time, due, attempts, suspect, trace, payload } = row;
    const [traceId = '', spanId = ''] = trace.split('-');
    return {
      seq, queue: this.#queue, lane, workspace, due, turn, suspect: suspect === 1, worker: this.#worker()!, ended: false,
      message: {
        id, name, key, time, payload,
        queue: this.#queue.name,
        workspace: this.#memory.workspaceName(workspace),
        lane: LANES[lane]!,
        trace: { traceId, spanId },
        attempt: attempts + 1,
      },
    };
  }

  #room(): number {
    let room = 0;
    for (const worker of this.#queue.workers) room += worker.free;
    return Math.min(room, TAKEN_AT_ONCE - this.flights.length);
  }

  /** The one with the most room. */
  #worker(): Worker | undefined {
    let best: Worker | undefined;
    for (const worker of this.#queue.workers) if (worker.free > (best?.free ?? 0)) best = worker;
    return best;
  }
}
