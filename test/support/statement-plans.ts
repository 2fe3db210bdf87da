import { DatabaseSync } from 'node:sqlite';
import { mock } from 'node:test';
import { type Kysely, sql } from 'kysely';
import { Connection } from 'pg';
import type { PostgresServer } from './postgres.ts';

/** Enough that PostgreSQL would rather use an index than read a table. */
const ROWS = 8_000;
const WORKSPACES = 10;
/** Of more rows than this PostgreSQL finds reading 8,000 in a row as cheap as looking each of them up. */
const LIMIT = 10;

/** What of a module's database filling and asking needs. */
export interface Planned {
  readonly db: Kysely<any>;
  transaction<T>(work: (tx: { readonly db: Kysely<any> }) => Promise<T>): Promise<T>;
}

/** Notes the text of every statement that databases of a kind are given, from now until `stop`. */
export function recordStatements(driver: 'sqlite' | 'postgres'): { texts(): string[]; stop(): void } {
  const prepare = mock.method(DatabaseSync.prototype, 'prepare');
  const parse = mock.method(Connection.prototype, 'parse');
  return {
    texts() {
      const given = driver === 'sqlite' ? prepare.mock.calls.map((call) => call.arguments[0]) : parse.mock.calls.map((call) => call.arguments[0].text);
      return [...new Set(given)].filter((text) => /^\s*(?:select|insert|update|delete|with)\b/i.test(text));
    },
    stop() {
      prepare.mock.restore();
      parse.mock.restore();
    },
  };
}

/** Gives these tables so many rows of several workspaces that reading one would be seen; made-up ones, whatever they mean. */
export async function fillTables(planned: Planned, names: readonly string[]): Promise<void> {
  const { rows } = await sql<{ schema: string }>`select ${sql.raw(isPostgres(planned) ? 'current_schema()' : "''")} as schema`.execute(planned.db);
  const tables = (await planned.db.introspection.getTables()).filter(({ schema }) => (schema ?? '') === rows[0]!.schema);
  for (const name of names) {
    const filled = tables.find((table) => table.name === name)!.columns.filter((column) => !column.isAutoIncrementing);
    const values = filled.map(({ name: column, dataType, isNullable }) => {
      const value = /^workspace(_id)?$/.test(column) ? sql`'w' || (i % ${sql.lit(WORKSPACES)})` : /int/i.test(dataType) ? (/^(gone|enabled)$/.test(column) ? sql`i % 2` : sql`i`) : column === 'attempts' ? sql`'[]'` : sql`'x' || i`;
      return isNullable ? sql`case when i % 10 = 0 then ${value} end` : value;
    });
    await planned.transaction(async (tx) => {
      await sql`with recursive g(i) as (select 1 union all select i + 1 from g where i < ${sql.lit(ROWS)}) insert into ${sql.table(name)} (${sql.join(filled.map((column) => sql.ref(column.name)))}) select ${sql.join(values)} from g where true on conflict do nothing`.execute(tx.db);
    });
  }
}

/** SQLite's plan for each text, with values that it does not know. */
export async function sqlitePlans({ db }: Planned, texts: readonly string[]): Promise<Map<string, string>> {
  const plans = new Map<string, string>();
  for (const text of texts) {
    const { rows } = await sql<{ detail: string }>`explain query plan ${sql.raw(text.replaceAll('?', 'null'))}`.execute(db);
    plans.set(text, rows.map((row) => row.detail).join('\n'));
  }
  return plans;
}

/** PostgreSQL's plan for each text whatever its values, with statistics as they are after a while. */
export async function postgresPlans({ db }: Planned, server: PostgresServer, texts: readonly string[]): Promise<Map<string, string>> {
  const { rows } = await sql<{ schema: string }>`select current_schema() as schema`.execute(db);
  const asked = texts.map((given, i) => {
    const { text, parameters } = withLimits(given);
    const values = parameters === 0 ? '' : `(${Array.from({ length: parameters }, () => 'null').join(', ')})`;
    return `\\echo @@${i}\nprepare p${i} as ${text};\nexplain (costs off) execute p${i}${values};`;
  });
  const script = `set search_path to "${rows[0]!.schema}";\nanalyze;\nset plan_cache_mode = force_generic_plan;\n${asked.join('\n')}`;
  const parts = server.psql(script).split(/^@@\d+$/m).slice(1);
  return new Map(texts.map((text, i) => [text, parts[i]!.trim()]));
}

/** A limit whose value nobody knows is taken for a tenth of the table; PostgreSQL itself then plans for each value. */
function withLimits(given: string): { readonly text: string; readonly parameters: number } {
  const numbers = new Map<string, number>();
  const text = given.replace(/(limit )?(\$\d+)/g, (_, isLimit: string | undefined, name: string) => {
    if (isLimit !== undefined) return `limit ${LIMIT}`;
    if (!numbers.has(name)) numbers.set(name, numbers.size + 1);
    return `$${numbers.get(name)}`;
  });
  return { text, parameters: numbers.size };
}

function isPostgres({ db }: Planned): boolean {
  return db.getExecutor().adapter.supportsTransactionalDdl === true;
}
