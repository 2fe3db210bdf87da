import { CompiledQuery, type Kysely, sql } from 'kysely';
import { CHANGES, type IndexDefinition, type StorageContents, type StorageTransaction, type StoredRow, type StoredValue, type TableShape } from '../../../src/ports/storage.ts';
import { makeIndex } from '../shared/indexes.ts';
import type { RunMigration } from '../shared/migrations.ts';
import type { PostgresSettings } from './driver.ts';

/** All tables of one schema. */
export class PostgresContents implements StorageContents {
  readonly place: string;
  readonly #db: Kysely<any>;
  readonly #change: RunMigration;
  readonly #types = new Map<string, ReadonlyMap<string, string>>();

  constructor(db: Kysely<any>, { host, port, database }: PostgresSettings, schema: string, change: RunMigration) {
    this.place = `postgres, ${host}:${port}/${database}, schema ${schema}`;
    this.#db = db;
    this.#change = change;
  }

  async bytes(): Promise<number> {
    const { rows } = await sql<{ bytes: number }>`SELECT coalesce(sum(pg_total_relation_size(oid)), 0) AS bytes FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace`.execute(this.#db);
    return rows[0]!.bytes;
  }

  async freeBytes(): Promise<null> {
    return null;
  }

  /** Each storage has a name of its own before that of the schema; see `clientConfig`. */
  async othersConnected(): Promise<number> {
    const { rows } = await sql<{ n: number }>`
      SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name <> current_setting('application_name')
      AND regexp_replace(application_name, '^multilith [^ ]+ ', '') = regexp_replace(current_setting('application_name'), '^multilith [^ ]+ ', '')`.execute(this.#db);
    return rows[0]!.n;
  }

  async indexes(): Promise<IndexDefinition[]> {
    const { rows } = await sql<IndexDefinition>`
      SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS "create" FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE c.relnamespace = current_schema()::regnamespace AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid) ORDER BY c.relname`.execute(this.#db);
    return rows;
  }

  makeIndex(index: IndexDefinition): Promise<void> {
    return this.#change((db) => makeIndex(db, index));
  }

  startRecording(tables: readonly TableShape[]): Promise<void> {
    return this.#change(async (db) => {
      await sql`CREATE TABLE IF NOT EXISTS ${sql.table(CHANGES)} (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, table_name text NOT NULL, row_key text NOT NULL)`.execute(db);
      for (const table of tables) for (const statement of recorderOf(table)) await sql.raw(statement).execute(db);
    });
  }

  stopRecording(): Promise<void> {
    return this.#change(async (db) => {
      const { rows } = await sql<{ name: string }>`SELECT proname AS name FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND proname LIKE ${`${CHANGES}\\_%`}`.execute(db);
      for (const { name } of rows) await sql`DROP FUNCTION ${sql.id(name)} CASCADE`.execute(db);
      await sql`DROP TABLE IF EXISTS ${sql.table(CHANGES)}`.execute(db);
    });
  }

  /** One array for each column: a text for each value would cost a placeholder each, of which a statement has few. */
  insertion(table: TableShape, rows: readonly StoredRow[]): (tx: StorageTransaction<any>) => Promise<void> {
    const names = table.columns.map((name) => `"${name}"`).join(', ');
    const values = table.columns.map((name) => arrayOf(rows, name));
    return async (tx) => {
      const types = await this.#typesOf(table, tx.db);
      const arrays = table.columns.map((name, i) => `$${i + 1}::${types.get(name)}[]`).join(', ');
      await tx.db.executeQuery(CompiledQuery.raw(`INSERT INTO "${table.name}" (${names}) SELECT * FROM unnest(${arrays})`, values));
    };
  }

  async lastNumber(table: TableShape): Promise<number> {
    const { rows } = await sql<{ last: number | null }>`SELECT pg_sequence_last_value(${sequenceOf(table)}::regclass) AS last`.execute(this.#db);
    return rows[0]!.last ?? 0;
  }

  async setLastNumber(tx: StorageTransaction<any>, table: TableShape, last: number): Promise<void> {
    await sql`SELECT setval(${sequenceOf(table)}::regclass, ${Math.max(last, 1)}, ${last > 0}::int::boolean)`.execute(tx.db);
  }

  /** By column, as the server calls them. */
  async #typesOf({ name }: TableShape, db: Kysely<any>): Promise<ReadonlyMap<string, string>> {
    const known = this.#types.get(name);
    if (known !== undefined) return known;
    const { rows } = await sql<{ name: string; type: string }>`
      SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = ${`"${name}"`}::regclass AND attnum > 0 AND NOT attisdropped`.execute(db);
    const types = new Map(rows.map((column) => [column.name, column.type]));
    this.#types.set(name, types);
    return types;
  }
}

function sequenceOf({ name, numbered }: TableShape) {
  return sql`pg_get_serial_sequence(${`"${name}"`}, ${numbered})`;
}

/** An array in the server's own spelling (https://www.postgresql.org/docs/15/arrays.html#ARRAYS-IO). */
function arrayOf(rows: readonly StoredRow[], column: string): string {
  let text = '{';
  for (let i = 0; i < rows.length; i++) text += `${i === 0 ? '' : ','}${elementOf(rows[i]![column]!)}`;
  return `${text}}`;
}

function elementOf(value: StoredValue): string {
  if (value === null) return 'NULL';
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return /["\\]/.test(value) ? `"${value.replaceAll(/["\\]/g, '\\$&')}"` : `"${value}"`;
  return `"\\\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')}"`;
}

/** A row that changes its key is one that goes and one that comes. The trigger goes with its function. */
function recorderOf({ name, key }: TableShape): string[] {
  const keyOf = (row: string) => `json_build_array(${key.map((column) => `${row}."${column}"`).join(', ')})::text`;
  const note = (row: string) => `INSERT INTO ${CHANGES} (table_name, row_key) VALUES ('${name}', ${keyOf(row)});`;
  const recorder = `"${CHANGES}_${name}"`;
  return [
    `CREATE OR REPLACE FUNCTION ${recorder}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND ${keyOf('OLD')} <> ${keyOf('NEW')}) THEN ${note('OLD')} END IF;
      IF TG_OP <> 'DELETE' THEN ${note('NEW')} END IF;
      RETURN NULL;
    END $$`,
    `CREATE OR REPLACE TRIGGER ${recorder} AFTER INSERT OR UPDATE OR DELETE ON "${name}" FOR EACH ROW EXECUTE FUNCTION ${recorder}()`,
  ];
}
