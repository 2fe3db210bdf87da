import { storageDrivers } from '../../adapters/storage/catalog.ts';
import { toFault } from '../../src/kernel/fault.ts';
import { type Migration, type Storage, statement } from '../../src/ports/storage.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import { silentLog, testContext } from './context.ts';

/*
 * A process that writes as fast as it can and says what it was told, for tests that kill it, break its disk or cut its
 * power: `node storage-writer.js <dataDir> <prefix> <in flight> <transactions> <bytes> <settings as JSON>`.
 * Lines of output: `ready`, `ok <id>`, `failed <id> <code> <origin>`, `warned` for a warning in the log, `done`.
 */

export interface LedgerTables {
  entries: { id: string; payload: string };
  totals: { id: string; entries: number };
}

export const LEDGER: Migration = {
  name: '0001-ledger',
  async up(db) {
    await db.schema.createTable('entries').addColumn('id', 'text', (c) => c.primaryKey()).addColumn('payload', 'text').execute();
    await db.schema.createTable('totals').addColumn('id', 'text', (c) => c.primaryKey()).addColumn('entries', 'integer').execute();
    await db.insertInto('totals').values({ id: 'all', entries: 0 }).execute();
  },
};

const add = statement<LedgerTables, { id: string; payload: string }>()((db, p) => db.insertInto('entries').values({ id: p('id'), payload: p('payload') }));
const count = statement<LedgerTables, object>()((db) => db.updateTable('totals').set((eb) => ({ entries: eb('entries', '+', 1) })).where('id', '=', 'all'));

/** Opens the ledger in a data directory; it has to be stopped. */
export async function openLedger(dataDir: string, settings: object = {}, log: Log = silentLog): Promise<Storage<LedgerTables>> {
  const { sqlite } = storageDrivers;
  const storage: Storage<LedgerTables> = sqlite.create(sqlite.settings.parse(settings), { ...testContext({ dataDir, log }), name: 'ledger' });
  await storage.start();
  await storage.migrate([LEDGER]);
  return storage;
}

async function main([dataDir, prefix, inFlight, transactions, bytes, settings]: string[]): Promise<void> {
  // Synchronous for pipes: what has been said is out before the process can die.
  const say = (line: string) => process.stdout.write(`${line}\n`);
  const log: Log = { ...silentLog, warn: () => say('warned'), child: () => log };
  const storage = await openLedger(dataDir!, JSON.parse(settings!) as object, log);
  say('ready');
  const payload = 'x'.repeat(Number(bytes));
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < Number(transactions); i = next++) {
      const id = `${prefix}-${i}`;
      const written = storage.transaction(async (tx) => {
        await tx.run(add, { id, payload });
        await tx.run(count, {});
      });
      const outcome = await written.then(
        () => `ok ${id}`,
        (error: unknown) => `failed ${id} ${toFault(error).code} ${toFault(error).origin}`,
      );
      say(outcome);
    }
  };
  await Promise.all(Array.from({ length: Number(inFlight) }, worker));
  say('done');
  await storage.stop(5_000);
}

if (process.argv[1] === import.meta.filename) await main(process.argv.slice(2));
