import { z } from 'zod';
import { storageDrivers } from '../../adapters/storage/catalog.ts';
import { Call } from '../../src/kernel/call.ts';
import { type Clock, systemClock } from '../../src/kernel/clock.ts';
import { command, contract, query } from '../../src/kernel/contract.ts';
import type { Migration, Storage, Store } from '../../src/ports/storage.ts';
import { Once } from '../../src/fabric/once.ts';
import { OutboxStore } from '../../src/fabric/outbox.ts';
import { fabricMigrations, type FabricTables } from '../../src/fabric/tables.ts';
import { testContext } from './context.ts';

/*
 * A module with a command that must not have its effect twice: paying into a purse. As a process of its own it pays
 * once, says `paid` when that is committed, and never answers: `node purse.js <dataDir> <key>`.
 */

interface PurseTables extends FabricTables {
  payments: { id: string; amount: number };
}
type Payment = { amount: number };

export interface Purse {
  pay(request: Payment, call: Call): Promise<{ payments: number }>;
  count(request: Record<string, never>, call: Call): Promise<{ payments: number }>;
}
const Payments = z.object({ payments: z.int() });
export const purse = contract<Purse>('purse', {
  pay: command({ input: z.object({ amount: z.int() }), output: Payments, timeoutMs: 5_000, faults: ['purse_closed'] }),
  count: query({ input: z.object({}), output: Payments, timeoutMs: 5_000 }),
});

const TABLES: Migration = {
  name: '0001-payments',
  up: (db) => db.schema.createTable('payments').addColumn('id', 'text', (c) => c.primaryKey()).addColumn('amount', 'integer').execute(),
};

export class PurseService implements Purse {
  readonly #store: Store<PurseTables>;
  /** What comes before and after the transaction. */
  before: (call: Call) => Promise<void> = async () => {};
  after: (call: Call) => Promise<void> = async () => {};
  runs = 0;

  constructor(store: Store<PurseTables>) {
    this.#store = store;
  }

  async pay({ amount }: Payment, call: Call): Promise<{ payments: number }> {
    this.runs++;
    await this.before(call);
    await this.add(amount);
    await this.after(call);
    return this.count();
  }

  async count(): Promise<{ payments: number }> {
    return { payments: (await this.#store.db.selectFrom('payments').selectAll().execute()).length };
  }

  add(amount: number): Promise<void> {
    return this.#store.transaction(async (tx) => void (await tx.db.insertInto('payments').values({ id: crypto.randomUUID(), amount }).execute()));
  }
}

export interface OpenPurse {
  readonly storage: Storage<PurseTables>;
  readonly service: PurseService;
  /** Guarded. */
  readonly purse: Purse;
}

/** Has to be stopped: `storage.stop`. */
export async function openPurse(dataDir: string, clock: Clock = systemClock): Promise<OpenPurse> {
  const { sqlite } = storageDrivers;
  const storage: Storage<PurseTables> = sqlite.create(sqlite.settings.parse({}), { ...testContext({ dataDir }), name: 'purse' });
  await storage.start();
  await storage.migrate([...fabricMigrations, TABLES]);
  return { storage, ...guardedPurse(storage, clock) };
}

/** As another process with the same database has it. */
export function guardedPurse(storage: Storage<PurseTables>, clock: Clock = systemClock): Omit<OpenPurse, 'storage'> {
  const once = new Once(storage as unknown as Storage<FabricTables>, clock);
  const service = new PurseService(new OutboxStore(storage, { module: 'purse', publishes: new Set(), strict: true, clock, alongside: once.alongside }, () => {}));
  return { service, purse: once.guard(purse, service) as unknown as Purse };
}

export function purseCall(key: string | undefined, over: Partial<ConstructorParameters<typeof Call>[0]> = {}): Call {
  return new Call({ workspace: 'w1', actor: { kind: 'user', id: 'u1' }, deadline: Date.now() + 10_000, ...(key === undefined ? {} : { idempotencyKey: key }), ...over });
}

if (process.argv[1] === import.meta.filename) {
  const [dataDir, key] = process.argv.slice(2);
  const { service, purse } = await openPurse(dataDir!);
  service.after = () => {
    process.stdout.write('paid\n');
    return new Promise((resolve) => setTimeout(resolve, 60_000));
  };
  await purse.pay({ amount: 5 }, purseCall(key));
}
