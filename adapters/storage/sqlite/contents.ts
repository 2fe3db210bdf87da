import { statfs } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { type Kysely, sql } from 'kysely';
import { CHANGES, type IndexDefinition, type Statement, statement, type StorageContents, type StorageTransaction, type StoredRow, type TableShape } from '../../../src/ports/storage.ts';
import { makeIndex } from '../shared/indexes.ts';
import type { RunMigration } from '../shared/migrations.ts';

type Insert = Statement<StoredRow, unknown>;

/** All tables of one file. */
export class SqliteContents implements StorageContents {
  readonly place: string;
  readonly #db: Kysely<any>;
  readonly #path: string;
  readonly #change: RunMigration;
  readonly #inserts = new Map<string, Insert>();

  constructor(db: Kysely<any>, path: string, change: RunMigration) {
    this.place = `sqlite, ${basename(path)}`;
    this.#db = db;
    this.#path = path;
    this.#change = change;
  }

  async bytes(): Promise<number> {
    const { rows } = await sql<{ bytes: number }>`SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()`.execute(this.#db);
    return rows[0]!.bytes;
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(dirname(this.#path));
    return bavail * bsize;
  }

  /** Whoever has it open has it alone. */
  async othersConnected(): Promise<number> {
    return 0;
  }

  async indexes(): Promise<IndexDefinition[]> {
    const { rows } = await sql<IndexDefinition>`SELECT name, sql AS "create" FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name`.execute(this.#db);
    return rows;
  }

  makeIndex(index: IndexDefinition): Promise<void> {
    return this.#change((db) => makeIndex(db, index));
  }

  startRecording(tables: readonly TableShape[]): Promise<void> {
    return this.#change(async (db) => {
      await sql`CREATE TABLE IF NOT EXISTS ${sql.table(CHANGES)} (seq INTEGER PRIMARY KEY AUTOINCREMENT, table_name TEXT NOT NULL, row_key TEXT NOT NULL)`.execute(db);
      for (const table of tables) for (const trigger of triggersOf(table)) await sql.raw(trigger).execute(db);
    });
  }

  stopRecording(): Promise<void> {
    return this.#change(async (db) => {
      const { rows } = await sql<{ name: string }>`SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB ${`${CHANGES}_*`}`.execute(db);
      for (const { name } of rows) await sql`DROP TRIGGER ${sql.id(name)}`.execute(db);
      await sql`DROP TABLE IF EXISTS ${sql.table(CHANGES)}`.execute(db);
    });
  }

  insertion(table: TableShape, rows: readonly StoredRow[]): (tx: StorageTransaction<any>) => Promise<void> {
    const insert = this.#inserts.get(table.name) ?? insertInto(table);
    this.#inserts.set(table.name, insert);
    return async (tx) => {
      for (const row of rows) await tx.run(insert, row);
    };
  }

  async lastNumber({ name }: TableShape): Promise<number> {
    const { rows } = await sql<{ seq: number }>`SELECT seq FROM sqlite_sequence WHERE name = ${name}`.execute(this.#db);
    return rows[0]?.seq ?? 0;
  }

  async setLastNumber(tx: StorageTransaction<any>, { name }: TableShape, last: number): Promise<void> {
    await sql`DELETE FROM sqlite_sequence WHERE name = ${name}`.execute(tx.db);
    await sql`INSERT INTO sqlite_sequence (name, seq) VALUES (${name}, ${last})`.execute(tx.db);
  }
}

function insertInto({ name, columns }: TableShape): Insert {
  return statement<any, StoredRow>()((db, p) => db.insertInto(name).values(Object.fromEntries(columns.map((column) => [column, p(column)]))));
}

/** A row that changes its key is one that goes and one that comes. */
function triggersOf({ name, key }: TableShape): string[] {
  const keyOf = (row: string) => `json_array(${key.map((column) => `${row}."${column}"`).join(', ')})`;
  const note = (row: string, where = '') => `INSERT INTO ${CHANGES} (table_name, row_key) SELECT '${name}', ${keyOf(row)}${where};`;
  const on = (event: string, ...notes: string[]) => `CREATE TRIGGER IF NOT EXISTS "${CHANGES}_${event}_${name}" AFTER ${event} ON "${name}" BEGIN ${notes.join(' ')} END`;
  return [on('INSERT', note('NEW')), on('DELETE', note('OLD')), on('UPDATE', note('NEW'), note('OLD', ` WHERE ${keyOf('OLD')} <> ${keyOf('NEW')}`))];
}
