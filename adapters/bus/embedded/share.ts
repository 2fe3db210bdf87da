import type { EpochMs } from '../../../src/kernel/clock.ts';
import { LANES } from '../../../src/kernel/message.ts';
import { MOST_COUNTED, type QueueState } from '../../../src/ports/bus.ts';
import type { Reader } from '../../../src/ports/storage.ts';
import type { BusMemory } from './memory.ts';
import type { Queue } from './queue.ts';
import { BLOCKED, DEAD, READY, WAITING } from './schema.ts';
import * as sql from './statements.ts';

/** One workspace's share of a queue: counted in the index, where the whole queue's counters are kept at hand. */
export async function shareOf(reader: Reader<unknown>, memory: BusMemory, queue: Queue, workspace: string, now: EpochMs): Promise<QueueState> {
  const id = memory.knownWorkspace(workspace);
  const rows = id === undefined ? [] : await reader.run(sql.countShare, { queue: queue.id, workspace: id, most: MOST_COUNTED });
  const begun = LANES.map(() => 0);
  for (const flight of queue.flights.values()) if (flight.begun && flight.workspace === id) begun[flight.lane]!++;
  const sum = (states: readonly number[], lane?: number): number =>
    Math.min(MOST_COUNTED, rows.reduce((total, row) => total + (states.includes(row.state) && (lane ?? row.lane) === row.lane ? row.n : 0), 0));
  const [urgent, normal, bulk] = LANES.map((_, lane) => Math.max(0, sum([READY, BLOCKED], lane) - begun[lane]!)) as [number, number, number];
  const due = Math.min(...queue.rotations.map((rotation) => (id === undefined ? Infinity : rotation.dueOf(id))));
  return {
    ...queue.state(now, () => ''),
    ready: { urgent, normal, bulk },
    waiting: sum([WAITING]),
    inFlight: begun.reduce((total, count) => total + count, 0),
    dead: sum([DEAD]),
    oldestMs: urgent + normal + bulk === 0 || due === Infinity ? null : Math.max(0, now - due),
    pausedWorkspaces: id !== undefined && queue.pausedWorkspaces.has(id) ? [workspace] : [],
  };
}
