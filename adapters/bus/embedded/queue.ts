import type { EpochMs } from '../../../src/kernel/clock.ts';
import { LANES } from '../../../src/kernel/message.ts';
import type { Incoming, QueueSettings, QueueState } from '../../../src/ports/bus.ts';
import { Rotation } from './rotation.ts';
import { MOST_FOLLOWING, Pace, type Run } from './run.ts';
import type { QueueRow } from './statements.ts';
import type { Worker } from './worker.ts';

/** A message that a worker owns, from its taking until its outcome is on disk. */
export interface Flight {
  readonly seq: number;
  readonly queue: Queue;
  readonly lane: number;
  readonly workspace: number;
  readonly due: EpochMs;
  /** The key within its workspace, on ordered queues. */
  readonly turn: string | null;
  readonly suspect: boolean;
  readonly message: Incoming;
  readonly run: Run;
  /** Its handler has its turn; the ones behind it in its run are taken, but still count as ready. */
  begun: boolean;
  /** Its outcome is known; a later one of the same delivery does not count. */
  ended: boolean;
}

/** A message that a crash cut short, waiting for another such one to finish. */
interface Held {
  readonly seq: number;
  readonly lane: number;
  readonly workspace: number;
  readonly due: EpochMs;
}

/** A message that ends the process does so soon; one that has run for this long no longer keeps the others waiting. */
const ALONE_MS = 30_000;

/**
 * What the bus keeps in memory of one queue: counters, what is under way, and which workspaces have ready messages.
 * Its size follows the workspaces and the concurrency, never the length of the queue. The counters and what is under
 * way are written with every transaction that changes them; after a failed transaction all of it is read again.
 */
export class Queue {
  readonly id: number;
  readonly name: string;
  settings: QueueSettings;
  paused = false;
  readonly pausedWorkspaces = new Set<number>();
  /** Ready, blocked or under way, by lane. */
  readonly lanes = LANES.map(() => 0);
  blocked = 0;
  waiting = 0;
  dead = 0;
  /** When the next waiting message is due. */
  nextDue: EpochMs = Infinity;
  lastPublished: EpochMs | null = null;
  lastTaken: EpochMs | null = null;
  readonly rotations = LANES.map(() => new Rotation());
  readonly flights = new Map<number, Flight>();
  /** Keys of which messages are under way, and how many; ordered queues. */
  readonly busy = new Map<string, number>();
  readonly pace = new Pace();
  readonly workers = new Set<Worker>();
  /** The row of this queue must be written. */
  changed = false;
  /** When those are let go that wait for a suspect to finish. */
  heldUntil: EpochMs = Infinity;
  #suspects = 0;
  #suspectSince: EpochMs = 0;
  #held: Held[] = [];

  constructor(id: number, settings: QueueSettings) {
    this.id = id;
    this.name = settings.name;
    this.settings = settings;
  }

  /** Takes over what the file says. What is under way stays. */
  restore(row: QueueRow): void {
    this.settings = JSON.parse(row.settings) as QueueSettings;
    this.paused = row.paused === 1;
    this.lanes.splice(0, LANES.length, row.urgent, row.normal, row.bulk);
    this.blocked = row.blocked;
    this.waiting = row.waiting;
    this.dead = row.dead;
    this.lastPublished = row.last_published;
    this.lastTaken = row.last_taken;
    this.pausedWorkspaces.clear();
    for (const rotation of this.rotations) rotation.clear();
    this.#held = [];
    this.heldUntil = Infinity;
    this.nextDue = Infinity;
    this.changed = true;
  }

  row(): Omit<QueueRow, 'name' | 'settings' | 'paused'> {
    const [urgent, normal, bulk] = this.lanes as [number, number, number];
    return {
      id: this.id, urgent, normal, bulk,
      blocked: this.blocked, waiting: this.waiting, dead: this.dead,
      in_flight: `[${[...this.flights.keys()].join(',')}]`,
      last_published: this.lastPublished, last_taken: this.lastTaken,
    };
  }

  get size(): number {
    return this.lanes[0]! + this.lanes[1]! + this.lanes[2]! + this.waiting + this.dead;
  }

  /** There may be something to take, and somebody to take it. */
  get canTake(): boolean {
    return !this.paused && this.workers.size > 0 && this.rotations.some((rotation) => rotation.size > 0);
  }

  /** How many messages of a key one run may take now. */
  get runLength(): number {
    let following = this.flights.size;
    for (const worker of this.workers) following -= worker.runs.size;
    return Math.min(this.pace.fitting, 1 + Math.max(0, MOST_FOLLOWING - following));
  }

  /** Whether messages of this workspace may be handled. */
  isOpen(workspace: number): boolean {
    return !this.paused && !this.pausedWorkspaces.has(workspace);
  }

  /** A message is ready that was not before: new, due, or free of the one before it. */
  ready(lane: number, workspace: number, seq: number, due: EpochMs): void {
    this.rotations[lane]!.add(workspace, seq, due, this.pausedWorkspaces.has(workspace));
  }

  /** True when this one has to wait, since one message alone may be the one that ended the process. */
  hold(lane: number, workspace: number, seq: number, due: EpochMs, now: EpochMs): boolean {
    const until = this.#suspectSince + ALONE_MS;
    if (this.#suspects === 0 || until <= now) return false;
    this.#held.push({ seq, lane, workspace, due });
    this.heldUntil = until;
    return true;
  }

  /** Those that were held are ready again. */
  letGo(): void {
    const held = this.#held;
    this.#held = [];
    this.heldUntil = Infinity;
    for (const { lane, workspace, seq, due } of held) this.ready(lane, workspace, seq, due);
  }

  takeOff(flight: Flight, now: EpochMs): void {
    this.flights.set(flight.seq, flight);
    flight.run.worker.add(flight);
    if (flight.turn !== null) this.#count(turnOf(flight.workspace, flight.turn), 1);
    if (flight.suspect) {
      this.#suspects++;
      this.#suspectSince = now;
    }
    this.lastTaken = now;
    this.changed = true;
  }

  /** No longer under way. The opposite of `takeOff`; also undoes it. */
  land(flight: Flight): void {
    if (!this.flights.delete(flight.seq)) return;
    flight.run.worker.remove(flight);
    if (flight.turn !== null) this.#count(turnOf(flight.workspace, flight.turn), -1);
    this.changed = true;
    if (flight.suspect && --this.#suspects === 0) this.letGo();
  }

  state(now: EpochMs, workspaceName: (id: number) => string): QueueState {
    const isAbandoned = this.workers.size > 0 && [...this.workers].every(({ isAttended }) => !isAttended());
    const begun = LANES.map(() => 0);
    for (const flight of this.flights.values()) if (flight.begun) begun[flight.lane]!++;
    const ready = this.lanes.map((count, lane) => Math.max(0, count - begun[lane]!));
    const oldest = Math.min(...this.rotations.map((rotation) => rotation.oldestDue()));
    const [urgent, normal, bulk] = ready as [number, number, number];
    return {
      name: this.name,
      ready: { urgent, normal, bulk },
      waiting: this.waiting,
      inFlight: begun.reduce((sum, count) => sum + count, 0),
      dead: this.dead,
      oldestMs: urgent + normal + bulk === 0 || oldest === Infinity ? null : Math.max(0, now - oldest),
      paused: this.paused,
      pausedWorkspaces: [...this.pausedWorkspaces].map(workspaceName).sort(),
      consumers: this.workers.size,
      concurrency: [...this.workers].reduce((sum, worker) => sum + worker.concurrency, 0),
      ...(isAbandoned ? { isAttended: false } : {}),
      lastPublished: this.lastPublished,
      lastTaken: this.lastTaken,
    };
  }

  #count(turn: string, change: 1 | -1): void {
    const count = (this.busy.get(turn) ?? 0) + change;
    if (count === 0) this.busy.delete(turn);
    else this.busy.set(turn, count);
  }
}

export function turnOf(workspace: number, key: string): string {
  return `${workspace} ${key}`;
}
