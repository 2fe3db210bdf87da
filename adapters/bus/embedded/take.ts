import type { EpochMs } from '../../../src/kernel/clock.ts';
import { LANES } from '../../../src/kernel/message.ts';
import type { BusMemory, Tx } from './memory.ts';
import { type Flight, type Queue, turnOf } from './queue.ts';
import type { Rotation, Stream } from './rotation.ts';
import { RUN_CHARACTERS, Run } from './run.ts';
import { BLOCKED, READY, WAITING } from './schema.ts';
import * as sql from './statements.ts';
import type { Worker } from './worker.ts';

/** What one transaction takes from one queue, and looks at, at most; the rest is for the next one. */
const TAKEN_AT_ONCE = 256;
const LOOKED_AT_ONCE = 1_024;
/** Where nothing could be taken, wider steps are made over what is blocked. */
const WIDEST_STEP = 256;

export interface Taking {
  readonly runs: Run[];
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
  readonly runs: Run[] = [];
  #taken = 0;
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
    return this.#taken >= TAKEN_AT_ONCE || this.#looked >= LOOKED_AT_ONCE;
  }

  /** Takes up to `share` of the next `step` messages, each with those that follow it; answers how many. */
  async #takeStream(lane: number, rotation: Rotation, stream: Stream, share: number, step: number): Promise<number> {
    const { id, settings } = this.#queue;
    const { workspace, after } = stream;
    const had = this.runs.length;
    // One more than is wanted: it tells whether the stream has an end here, and since when its next one waits.
    const rows = await this.#tx.run(settings.ordered ? sql.takeOrdered : sql.take, { queue: id, lane, workspace, after, limit: step + 1 });
    let i = 0;
    for (; i < Math.min(rows.length, step) && this.runs.length - had < share; i++) await this.#consider(rows[i]!, lane, workspace);
    this.#looked += i;
    const next = rows[i];
    if (next === undefined) {
      rotation.drained(stream);
    } else {
      stream.after = next.seq - 1;
      stream.headDue = next.due;
      rotation.served(stream);
    }
    return this.runs.length - had;
  }

  async #consider(row: sql.TakenRow, lane: number, workspace: number): Promise<void> {
    const queue = this.#queue;
    if (queue.flights.has(row.seq)) return;
    const turn = queue.settings.ordered ? row.key : null;
    if (turn !== null && (row.head !== row.seq || queue.busy.has(turnOf(workspace, turn)))) {
      this.#blocked.push(row.seq);
      return;
    }
    if (row.suspect === 1 && queue.hold(lane, workspace, row.seq, row.due, this.#now)) return;
    const run = new Run(this.#worker()!);
    this.runs.push(run);
    this.#takeOff(run, this.#flightOf(row, lane, workspace, turn, run));
    // Where nothing is blocked, there is hardly a second message of any key, and looking for one is not worth its while.
    if (turn !== null && row.suspect === 0 && queue.blocked + this.#blocked.length > 0) await this.#takeFollowing(run, row.seq, lane, workspace, turn);
  }

  /** The next messages of a key, up to the first that has to wait for something else than the one before it. */
  async #takeFollowing(run: Run, first: number, lane: number, workspace: number, turn: string): Promise<void> {
    const queue = this.#queue;
    const limit = Math.min(queue.runLength - 1, TAKEN_AT_ONCE - this.#taken);
    if (limit < 1) return;
    const rows = await this.#tx.run(sql.following, { queue: queue.id, workspace, key: turn, after: first, limit });
    const freed: number[] = [];
    let characters = 0;
    for (const row of rows) {
      if (!this.#mayFollow(row, lane) || characters > RUN_CHARACTERS) break;
      characters += row.payload.length;
      if (row.state === BLOCKED) freed.push(row.seq);
      this.#takeOff(run, this.#flightOf(row, lane, workspace, turn, run));
    }
    if (freed.length === 0) return;
    await this.#tx.run(sql.moveTo, { seqs: `[${freed.join(',')}]`, state: READY });
    queue.blocked -= freed.length;
  }

  /** A crash must not cost a message its last try that has not even begun. */
  #mayFollow(row: sql.FollowingRow, lane: number): boolean {
    return row.lane === lane && row.state !== WAITING && row.suspect === 0 && row.attempts + 1 < this.#queue.settings.attempts;
  }

  #takeOff(run: Run, flight: Flight): void {
    run.flights.push(flight);
    this.#queue.takeOff(flight, this.#now);
    this.#taken++;
  }

  #flightOf(row: sql.TakenRow, lane: number, workspace: number, turn: string | null, run: Run): Flight {
    const { seq, id, name, key, time, due, attempts, suspect, trace, payload } = row;
    const [traceId = '', spanId = ''] = trace.split('-');
    return {
      seq, queue: this.#queue, lane, workspace, due, turn, suspect: suspect === 1, run, begun: run.flights.length === 0, ended: false,
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
    return Math.min(room, TAKEN_AT_ONCE - this.#taken);
  }

  /** The one with the most room. */
  #worker(): Worker | undefined {
    let best: Worker | undefined;
    for (const worker of this.#queue.workers) if (worker.free > (best?.free ?? 0)) best = worker;
    return best;
  }
}
