import type { EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { QueueSettings } from '../../../src/ports/bus.ts';
import type { StorageTransaction } from '../../../src/ports/storage.ts';
import { Queue } from './queue.ts';
import { DEAD, NO_WORKSPACE, READY } from './schema.ts';
import * as sql from './statements.ts';

export type Tx = StorageTransaction<unknown>;

/** All queues, the workspaces by number, and the number of the next message. */
export class BusMemory {
  readonly byName = new Map<string, Queue>();
  nextSeq = 1;
  readonly #byTopic = new Map<string, Queue[]>();
  readonly #workspaceIds = new Map<string, number>();
  readonly #workspaceNames = new Map<number, string>();

  queues(): Iterable<Queue> {
    return this.byName.values();
  }

  queue(name: string): Queue {
    const queue = this.byName.get(name);
    if (queue === undefined) throw new Fault('not_found', `There is no queue ${JSON.stringify(name)}; it must be declared first.`, { reason: 'queue_not_found' });
    return queue;
  }

  subscribers(topic: string): readonly Queue[] {
    return this.#byTopic.get(topic) ?? [];
  }

  /** Messages on disk, all queues and states together. */
  get size(): number {
    let size = 0;
    for (const queue of this.queues()) size += queue.size;
    return size;
  }

  add(queue: Queue): void {
    this.byName.set(queue.name, queue);
    this.bindTopics();
  }

  bindTopics(): void {
    this.#byTopic.clear();
    for (const queue of this.queues()) {
      for (const topic of queue.settings.topics) this.#byTopic.set(topic, [...this.subscribers(topic), queue]);
    }
  }

  workspaceName(id: number): string | null {
    return this.#workspaceNames.get(id) ?? null;
  }

  knownWorkspace(name: string): number | undefined {
    return this.#workspaceIds.get(name);
  }

  /** Workspaces get a number for good at their first message: a number is a fifth of the text in each index. */
  async workspaceId(tx: Tx, name: string | null): Promise<number> {
    if (name === null) return NO_WORKSPACE;
    const known = this.#workspaceIds.get(name);
    if (known !== undefined) return known;
    const [row] = await tx.run(sql.addWorkspace, { name });
    this.#name(row!.id, name);
    return row!.id;
  }

  /** Reads everything from the file: at start, and when a failed transaction leaves in doubt what was written. */
  async reload(tx: Tx): Promise<void> {
    const [last] = await tx.run(sql.lastSeq, {});
    // Never one again that was given out in this process: whoever walks over the messages stands behind it.
    this.nextSeq = Math.max(this.nextSeq, (last?.seq ?? 0) + 1);
    this.#workspaceIds.clear();
    this.#workspaceNames.clear();
    for (const { id, name } of await tx.run(sql.allWorkspaces, {})) this.#name(id, name);
    const byId = new Map<number, Queue>();
    const rows = await tx.run(sql.allQueues, {});
    const known = new Set(rows.map((row) => row.name));
    for (const name of this.byName.keys()) if (!known.has(name)) this.byName.delete(name);
    for (const row of rows) {
      const queue = this.byName.get(row.name) ?? new Queue(row.id, JSON.parse(row.settings) as QueueSettings);
      queue.restore(row);
      this.byName.set(row.name, queue);
      byId.set(row.id, queue);
    }
    this.bindTopics();
    for (const pause of await tx.run(sql.allPauses, {})) byId.get(pause.queue)?.pausedWorkspaces.add(pause.workspace);
    for (const queue of this.queues()) {
      await readStreams(tx, queue);
      await readNextDue(tx, queue);
    }
  }

  #name(id: number, name: string): void {
    this.#workspaceIds.set(name, id);
    this.#workspaceNames.set(id, name);
  }
}

/** Which workspaces have ready messages: one step over the index for each lane and workspace. */
export async function readStreams(tx: Tx, queue: Queue): Promise<void> {
  for (const rotation of queue.rotations) rotation.clear();
  let at = { lane: -1, workspace: 0 };
  for (;;) {
    const [stream] = await tx.run(sql.nextStream, { queue: queue.id, ...at });
    if (stream === undefined) return;
    queue.ready(stream.lane, stream.workspace, stream.seq, stream.due);
    at = { lane: stream.lane, workspace: stream.workspace };
  }
}

export async function readNextDue(tx: Tx, queue: Queue): Promise<void> {
  const [next] = queue.waiting === 0 ? [] : await tx.run(sql.nextDueOf, { queue: queue.id });
  queue.nextDue = next?.due ?? Infinity;
}

/**
 * What was under way when the process died has had its try. On its last one it goes to the error queue; else it is
 * marked, and of the marked messages of a queue only one runs at a time, so that the one that ends the process does
 * not take its neighbours along each time.
 */
export async function recover(tx: Tx, queue: Queue, seqs: string, now: EpochMs): Promise<void> {
  for (const row of await tx.run(sql.standing, { seqs })) {
    if (row.state !== READY) continue;
    const attempts = row.attempts + 1;
    const last = attempts >= queue.settings.attempts;
    const reason = 'interrupted: The process ended while this message was being handled.';
    await tx.run(sql.endTry, { seq: row.seq, state: last ? DEAD : READY, attempts, suspect: last ? 0 : 1, reason });
    await tx.run(sql.remember, { seqs: `[${row.seq}]`, time: now });
    if (!last) continue;
    queue.lanes[row.lane]!--;
    queue.dead++;
    if (row.key !== null) await unblock(tx, queue, row.workspace, row.key);
  }
}

/** The turn passes to the next message of a key, when one is blocked. */
export async function unblock(tx: Tx, queue: Queue, workspace: number, key: string): Promise<void> {
  if (queue.blocked === 0) return;
  for (const next of await tx.run(sql.unblockFirst, { queue: queue.id, workspace, key })) {
    queue.blocked--;
    queue.changed = true;
    queue.ready(next.lane, next.workspace, next.seq, next.due);
  }
}
