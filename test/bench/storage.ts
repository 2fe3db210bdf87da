import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { DatabaseSync } from 'node:sqlite';
import { storageDrivers } from '../../adapters/storage/catalog.ts';
import type { DriverContext } from '../../src/kernel/driver.ts';
import { newId } from '../../src/kernel/ids.ts';
import { type Migration, type Storage, statement } from '../../src/ports/storage.ts';
import { testContext } from '../support/context.ts';

interface Tables {
  rows: { id: string; payload: string };
}

interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** node:sqlite without anything around it, in the same run. */
  readonly limit?: number;
  readonly note?: string;
}

const PAYLOAD = 'x'.repeat(1_000);
const ROUNDS = 3;
const ROUND_MS = 700;
const TABLE: Migration = { name: '0001', up: (db) => db.schema.createTable('rows').addColumn('id', 'text', (c) => c.primaryKey()).addColumn('payload', 'text').execute() };

const insert = statement<Tables, Tables['rows']>()((db, p) => db.insertInto('rows').values({ id: p('id'), payload: p('payload') }));
const byId = statement<Tables, { id: string }>()((db, p) => db.selectFrom('rows').selectAll().where('id', '=', p('id')));

/** SQLite storage against bare node:sqlite with commits of the same size, by turns in one process on one disk. */
export async function benchStorage(): Promise<Figure[]> {
  const place = testContext();
  const bare = new DatabaseSync(join(place.dataDir, 'bare.sqlite'));
  bare.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE rows (id TEXT PRIMARY KEY, payload TEXT)');
  const storage = await opened(place, 'bench');
  try {
    const figures: Figure[] = [];
    for (const inFlight of [1, 10, 100, 1_000]) figures.push(await writing(storage, bare, inFlight));
    figures.push(await together(place));
    figures.push(await reading(storage, bare));
    return figures;
  } finally {
    await storage.stop(5_000);
    bare.close();
    place.remove();
  }
}

async function writing(storage: Storage<Tables>, bare: DatabaseSync, inFlight: number): Promise<Figure> {
  const rates: number[] = [];
  const limits: number[] = [];
  const delays: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    limits.push(bareRate(bare, inFlight));
    // The bare run stood in the loop's way; what counts begins after it.
    await new Promise((resolve) => setTimeout(resolve, 5));
    const loop = monitorEventLoopDelay({ resolution: 1 });
    loop.enable();
    rates.push(await storageRate([storage], inFlight));
    loop.disable();
    delays.push(loop.percentile(99) / 1e6);
  }
  return { name: `storage: transactions of one 1 KB row, ${inFlight} in flight`, value: median(rates), unit: '/s', limit: median(limits), note: `event loop delay p99 ${median(delays).toFixed(1)} ms` };
}

/** The databases of one whole process, written to at the same time from one thread. */
async function together(place: DriverContext): Promise<Figure> {
  const storages: Storage<Tables>[] = [];
  for (const name of ['bus', 'portal', 'trigger', 'notification']) storages.push(await opened(place, name));
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS; round++) rates.push(await storageRate(storages, 100));
  for (const storage of storages) await storage.stop(5_000);
  return { name: 'storage: transactions of one 1 KB row, 25 in flight on each of four databases', value: median(rates), unit: '/s' };
}

async function opened(place: DriverContext, name: string): Promise<Storage<Tables>> {
  const { sqlite } = storageDrivers;
  const storage: Storage<Tables> = sqlite.create(sqlite.settings.parse({}), { ...place, name });
  await storage.start();
  await storage.migrate([TABLE]);
  return storage;
}

async function storageRate(storages: readonly Storage<Tables>[], inFlight: number): Promise<number> {
  const began = performance.now();
  let done = 0;
  await Promise.all(
    Array.from({ length: inFlight }, async (_, i) => {
      const storage = storages[i % storages.length]!;
      while (performance.now() - began < ROUND_MS) {
        await storage.transaction((tx) => tx.run(insert, { id: newId(), payload: PAYLOAD }));
        done++;
      }
    }),
  );
  return done / ((performance.now() - began) / 1_000);
}

function bareRate(bare: DatabaseSync, group: number): number {
  const [begin, commit] = [bare.prepare('BEGIN IMMEDIATE'), bare.prepare('COMMIT')];
  const row = bare.prepare('INSERT INTO rows VALUES (?, ?)');
  const began = performance.now();
  let done = 0;
  for (; performance.now() - began < ROUND_MS; done += group) {
    begin.run();
    for (let i = 0; i < group; i++) row.run(newId(), PAYLOAD);
    commit.run();
  }
  return done / ((performance.now() - began) / 1_000);
}

/** What a prepared read costs, promise included. */
async function reading(storage: Storage<Tables>, bare: DatabaseSync): Promise<Figure> {
  const ids = Array.from({ length: 1_000 }, newId);
  const row = bare.prepare('INSERT INTO rows VALUES (?, ?)');
  const select = bare.prepare('SELECT * FROM rows WHERE id = ?');
  bare.exec('BEGIN');
  for (const id of ids) row.run(id, PAYLOAD);
  bare.exec('COMMIT');
  await storage.transaction(async (tx) => {
    for (const id of ids) await tx.run(insert, { id, payload: PAYLOAD });
  });
  const rates: number[] = [];
  const limits: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    limits.push(await rate((i) => void select.all(ids[i % ids.length]!)));
    rates.push(await rate((i) => storage.run(byId, { id: ids[i % ids.length]! })));
  }
  return { name: 'storage: reads by key with a prepared statement', value: median(rates), unit: '/s', limit: median(limits) };
}

async function rate(work: (i: number) => unknown): Promise<number> {
  const count = 50_000;
  const began = performance.now();
  for (let i = 0; i < count; i++) await work(i);
  return count / ((performance.now() - began) / 1_000);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
