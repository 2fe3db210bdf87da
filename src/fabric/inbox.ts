import type { Clock, Timer } from '../kernel/clock.ts';
import { type Lifecycle, StartStop } from '../kernel/lifecycle.ts';
import type { Log } from '../kernel/telemetry.ts';
import { type Storage, type StorageTransaction, statement } from '../ports/storage.ts';
import type { FabricTables } from './tables.ts';

const record = statement<FabricTables, { queue: string; id: string; time: number }>()((db, p) =>
  db
    .insertInto('fabric_inbox')
    .values({ queue: p('queue'), id: p('id'), time: p('time') })
    .onConflict((c) => c.doNothing())
    .returning('id'),
);
const prune = statement<FabricTables, { before: number; limit: number }>()((db, p) =>
  db
    .deleteFrom('fabric_inbox')
    .where((eb) => eb(eb.refTuple('queue', 'id'), 'in', eb.selectFrom('fabric_inbox').select(['queue', 'id']).where('time', '<', p('before')).limit(p('limit')).$asTuple('queue', 'id')))
    .returning('id'),
);

const pruneCalls = statement<FabricTables, { before: number; limit: number }>()((db, p) =>
  db
    .deleteFrom('fabric_calls')
    .where((eb) => eb(eb.refTuple('operation', 'caller', 'key'), 'in', eb.selectFrom('fabric_calls').select(['operation', 'caller', 'key']).where('time', '<', p('before')).limit(p('limit')).$asTuple('operation', 'caller', 'key')))
    .returning('key'),
);

/** True when this message has had its effect before; otherwise notes, in this transaction, that it has it now. */
export async function handledBefore(tx: StorageTransaction<any>, queue: string, id: string, now: number): Promise<boolean> {
  return (await tx.run(record, { queue, id, time: now })).length === 0;
}

/** Those of these messages that have not had their effect before; notes, in this transaction, that they have it now. */
export async function notHandledBefore<M extends { readonly id: string }>(tx: StorageTransaction<any>, queue: string, all: readonly M[], now: number): Promise<M[]> {
  const noted = new Set((await tx.runMany(record, all.map(({ id }) => ({ queue, id, time: now })))).map(({ id }) => id));
  return all.filter(({ id }) => noted.delete(id));
}

/** A repeat arrives within seconds, or after an outage; not after a week. */
const KEPT_DAYS = 7;
const DAY_MS = 86_400_000;
const EVERY_MS = 600_000;
const BATCH_ROWS = 1_000;

/** Forgets messages and commands that were handled so long ago that no repeat of them can arrive. In small batches. */
export class InboxPruner implements Lifecycle {
  readonly #life: StartStop;
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(storage: Storage<FabricTables>, clock: Clock, log: Log, keptDays: number = KEPT_DAYS) {
    const round = async (): Promise<void> => {
      const which = { before: clock.now() - keptDays * DAY_MS, limit: BATCH_ROWS };
      for (const statement of [prune, pruneCalls] as const) {
        let removed: number;
        do {
          removed = (await storage.transaction((tx) => tx.run<object, typeof which>(statement, which))).length;
        } while (removed === BATCH_ROWS && this.#life.state === 'running');
      }
    };
    const arm = (): void => {
      this.#timer = clock.after(EVERY_MS, () => {
        this.#running = round()
          .catch((err: unknown) => log.warn({ err }, 'inbox not pruned; tried again later'))
          .finally(() => {
            if (this.#life.state === 'running') arm();
          });
      });
    };
    this.#life = new StartStop(arm, async () => {
      this.#timer?.cancel();
      await this.#running;
    });
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }
}
