import { setTimeout as sleep } from 'node:timers/promises';
import { toFault } from '../../src/kernel/fault.ts';
import { LANES } from '../../src/kernel/message.ts';
import type { Bus, Handler, Outgoing } from '../../src/ports/bus.ts';
import { type Migration, type Storage, statement } from '../../src/ports/storage.ts';
import { type BusDriverName, createBus, messageTo, queueOf, sqliteAt } from './buses.ts';
import { testContext } from './context.ts';
import { type Random, seeded } from './seed.ts';

/*
 * A process that publishes and consumes as fast as it can, for tests that kill it or break its disk. The effect of a
 * message is one row in a database of its own, written before the message is acknowledged, in the order of handling.
 * Chance comes from MULTILITH_SEED. Lines of output: `ok <id>` and `failed <code>` for what was published, `quiet` when all has been handled.
 */
export interface LedgerPlan {
  readonly driver: BusDriverName;
  readonly dataDir: string;
  /** In front of every id. */
  readonly run: string;
  readonly publishers: number;
  /** How many each of them sends, in batches; 0: only work off what is there. */
  readonly each: number;
}

export interface EffectTables {
  effect: { seq: number; id: string; turn: string; n: number };
}

const EFFECTS: Migration = {
  name: '0001-effects',
  async up(db) {
    await db.schema.createTable('effect').addColumn('seq', 'integer', (c) => c.primaryKey()).addColumn('id', 'text', (c) => c.unique()).addColumn('turn', 'text').addColumn('n', 'integer').execute();
  },
};
const record = statement<EffectTables, { id: string; turn: string; n: number }>()((db, p) =>
  db.insertInto('effect').values({ id: p('id'), turn: p('turn'), n: p('n') } as never).onConflict((oc) => oc.column('id').doNothing()));

export const QUEUE = queueOf('q', { ordered: true, attempts: 1_000, backoff: { firstMs: 1, factor: 2, mostMs: 20, jitter: 1 } });

export async function openEffects(dataDir: string): Promise<Storage<EffectTables>> {
  const storage = sqliteAt(testContext({ dataDir }))('effects') as Storage<EffectTables>;
  await storage.start();
  await storage.migrate([EFFECTS]);
  return storage;
}

/** Records each message once, failing now and then by chance on the way. */
export function recording(effects: Storage<EffectTables>, random: Random): Handler {
  return async ({ id, key, workspace }) => {
    if (random.whole(20) === 0) await sleep(random.whole(4));
    if (random.whole(20) === 0) return { kind: 'retry', reason: 'chance' };
    if (random.whole(50) === 0) return { kind: 'retry', reason: 'later', notBefore: Date.now() + random.whole(10) };
    await effects.transaction((tx) => tx.run(record, { id, turn: `${workspace}/${key}`, n: Number(id.split('-').at(-1)) }));
    return { kind: 'done' };
  };
}

/** The messages of one publisher: one key, numbered in the order of publishing. */
export function batchOf(run: string, publisher: number, first: number, random: Random): Outgoing[] {
  return Array.from({ length: 1 + random.whole(4) }, (_, i) =>
    messageTo('q', {
      id: `${run}-${publisher}-${first + i}`, key: `${run}-${publisher}`, workspace: `w${publisher % 3}`, lane: LANES[random.whole(3)]!,
      ...(random.whole(30) === 0 ? { notBefore: Date.now() + random.whole(20) } : {}),
    }));
}

async function publishing(bus: Bus, plan: LedgerPlan, publisher: number, random: Random): Promise<void> {
  for (let n = 0; n < plan.each; ) {
    const batch = batchOf(plan.run, publisher, n, random);
    n += batch.length;
    await publishUntilTaken(bus, batch);
    process.stdout.write(batch.map(({ id }) => `ok ${id}\n`).join(''));
  }
}

/** As the outbox does: the same batch again until the bus has it, so that the order stays. */
async function publishUntilTaken(bus: Bus, batch: readonly Outgoing[]): Promise<void> {
  for (;;) {
    try {
      return await bus.publish(batch);
    } catch (error) {
      process.stdout.write(`failed ${toFault(error).code}\n`);
      await sleep(5);
    }
  }
}

async function main(plan: LedgerPlan): Promise<void> {
  setInterval(() => {}, 1_000);
  const random = seeded(() => {});
  const bus = createBus(plan.driver, testContext({ dataDir: plan.dataDir }), { minFreeBytes: 0 });
  const effects = await openEffects(plan.dataDir);
  await bus.start();
  await bus.declare(QUEUE);
  for (const concurrency of [7, 30]) await bus.consume('q', { concurrency }, recording(effects, random));
  await Promise.all(Array.from({ length: plan.publishers }, (_, publisher) => publishing(bus, plan, publisher, random)));
  for (;;) {
    const [state] = await bus.inspect();
    if (state!.ready.urgent + state!.ready.normal + state!.ready.bulk + state!.waiting + state!.inFlight === 0) break;
    await sleep(10);
  }
  process.stdout.write('quiet\n');
  await bus.stop(5_000);
  await effects.stop(5_000);
  process.exit();
}

if (process.argv[1] === import.meta.filename) await main(JSON.parse(process.argv[2]!) as LedgerPlan);
