import { basename } from 'node:path';
import { after, before, describe, type TestContext as Test } from 'node:test';
import { type Kysely, sql } from 'kysely';
import { storageDrivers } from '../../adapters/storage/catalog.ts';
import type { Driver, DriverContext } from '../../src/kernel/driver.ts';
import type { Migration, Storage } from '../../src/ports/storage.ts';
import { testContext } from './context.ts';
import { PostgresServer } from './postgres.ts';

export type StorageDriverName = keyof typeof storageDrivers;

/** The tables that the suite works on. */
export interface Tables {
  notes: { id: string; body: string | null; n: number | null; r: number | null; bytes: Uint8Array | null };
  counters: { id: string; n: number };
  people: { id: string; workspace: string; email: string };
  orders: { id: string; person: string; amount: number };
}

export interface StorageUnderTest {
  readonly driver: StorageDriverName;
  /** The suite's tables. */
  readonly migration: Migration;
  /** A data directory that goes with the test. */
  place(t: Test): DriverContext;
  /** Not started; stopped after the test. */
  create(t: Test, place: DriverContext, settings?: object): Storage<Tables>;
  /** Started, with the suite's tables. */
  open(t: Test, settings?: object): Promise<Storage<Tables>>;
}

/** Runs a suite once for every driver of the catalog. */
export function onEachStorage(title: string, suite: (under: StorageUnderTest) => void): void {
  for (const driver of Object.keys(storageDrivers) as StorageDriverName[]) {
    describe(`${title}: ${driver}`, () => {
      const server = driver === 'postgres' ? new PostgresServer() : undefined;
      before(() => server?.start());
      after(() => server?.remove());
      suite(underTest(driver, server));
    });
  }
}

export function underTest(driver: StorageDriverName, server?: PostgresServer): StorageUnderTest {
  const { settings: schema, create } = storageDrivers[driver] as Driver<object, Storage, { readonly name: string }>;
  const migration: Migration = { name: '0001-suite', up: createTables };
  const under: StorageUnderTest = {
    driver,
    migration,
    place(t) {
      const context = testContext();
      t.after(() => context.remove());
      return context;
    },
    create(t, place, settings = {}) {
      const storage = create(schema.parse({ ...server?.settings(basename(place.dataDir)), ...settings }), { ...place, name: 'suite' });
      t.after(() => storage.stop(1_000));
      return storage;
    },
    async open(t, settings) {
      const storage = under.create(t, under.place(t), settings);
      await storage.start();
      await storage.migrate([migration]);
      return storage;
    },
  };
  return under;
}

async function createTables(db: Kysely<any>): Promise<void> {
  await db.schema
    .createTable('notes')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('body', 'text')
    .addColumn('n', 'integer')
    .addColumn('r', 'real')
    .addColumn('bytes', 'blob')
    .execute();
  await db.schema.createTable('counters').addColumn('id', 'text', (c) => c.primaryKey()).addColumn('n', 'integer', (c) => c.notNull()).execute();
  await db.schema
    .createTable('people')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('workspace', 'text', (c) => c.notNull())
    .addColumn('email', 'text', (c) => c.notNull())
    .addUniqueConstraint('people_email', ['workspace', 'email'])
    .execute();
  await db.schema
    .createTable('orders')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('person', 'text', (c) => c.notNull().references('people.id'))
    .addColumn('amount', 'integer', (c) => c.notNull())
    .addCheckConstraint('orders_amount', sql`amount > 0`)
    .execute();
}
