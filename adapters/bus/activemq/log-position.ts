import type { Kysely } from 'kysely';
import { newId } from '../../../src/kernel/ids.ts';
import { type Migration, type Snapshot, statement } from '../../../src/ports/storage.ts';

interface PositionRow {
  id: 1;
  /** Of this copy. */
  keeper: string;
  /** Empty while the copy is not whole. */
  log: string;
  /** The last that is written here. */
  record: number;
  /** The last that was known to be in the log then, and the segment in which the one behind it begins. */
  sure: number;
  segment: number;
}

interface Tables {
  log_position: PositionRow;
}

/** How far a copy of the messages is in the log, written with each of its transactions. */
export const position: Migration = {
  name: 'log-0001-position',
  async up(db: Kysely<Tables>) {
    await db.schema
      .createTable('log_position')
      .addColumn('id', 'integer', (column) => column.primaryKey())
      .addColumn('keeper', 'text', (column) => column.notNull())
      .addColumn('log', 'text', (column) => column.notNull())
      .addColumn('record', 'integer', (column) => column.notNull())
      .addColumn('sure', 'integer', (column) => column.notNull())
      .addColumn('segment', 'integer', (column) => column.notNull())
      .execute();
    await db.insertInto('log_position').values({ id: 1, keeper: newId(), log: '', record: 0, sure: 0, segment: 0 }).execute();
  },
};

export const positionOf = statement<Tables, object>()((db) => db.selectFrom('log_position').selectAll());
export const moveTo = statement<Tables, { record: number; sure: number; segment: number }>()((db, p) =>
  db.updateTable('log_position').set({ record: p('record'), sure: p('sure'), segment: p('segment') }));
export const goTo = statement<Tables, { log: string; record: number }>()((db, p) => db.updateTable('log_position').set({ log: p('log'), record: p('record'), sure: p('record'), segment: 0 }));

/** A copy's messages without what it knows of the log, as the engine has them that keeps none. */
export function withoutPosition(snapshot: Snapshot): Snapshot {
  return {
    tables: snapshot.tables.filter(({ name }) => name !== 'log_position'),
    rows: (table, options) => (table.name === 'migrations' ? withoutMigration(snapshot.rows(table, options)) : snapshot.rows(table, options)),
    close: () => snapshot.close(),
  };
}

async function* withoutMigration(batches: ReturnType<Snapshot['rows']>): AsyncGenerator<Readonly<Record<string, unknown>>[], void, void> {
  for await (const rows of batches) yield rows.filter(({ name }) => name !== position.name);
}
