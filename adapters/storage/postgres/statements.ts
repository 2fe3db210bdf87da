import { type CompiledQuery, DeleteQueryNode, InsertQueryNode, type Kysely, type QueryResult, type RootOperationNode, UpdateQueryNode, ValuesNode } from 'kysely';
import type { Answer } from './burst.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { Parameter, type Statement } from '../../../src/ports/storage.ts';
import { type Bindable, bindable } from './values.ts';

/** What belongs to the storage itself: a module's own would end the transaction that its neighbours share. */
const RESERVED = /^\s*(?:begin|start|commit|end|abort|rollback|savepoint|release|prepare|set|reset|discard|listen|lock|attach|detach|pragma|vacuum)\b/i;

/** One statement with its values, as it goes to the server. The extended protocol takes no more than one at a time. */
export interface Query {
  /** Prepared once under it by each connection; left out: each time. */
  readonly name?: string;
  readonly text: string;
  readonly values: Bindable[];
  readonly queryMode?: 'extended';
}

/** In the order of the placeholders: a parameter's name, or a constant that is bound as it is. */
type Slots = readonly (Parameter | { readonly constant: Bindable })[];

interface Bound {
  /** A write that answers no rows, whatever it finds. */
  readonly isSilent: boolean;
  readonly name: string;
  readonly text: string;
  readonly slots: Slots;
  readonly compiled: CompiledQuery;
  /** The same for so many rows at once; empty where that cannot be. Made when first asked for. */
  larger?: readonly { readonly rows: number; readonly name: string; readonly text: string }[];
}

/** Rows that one statement adds, the largest first: few sizes, since each is prepared for itself. */
const ROWS_AT_ONCE = [64, 16, 4];

/** Statements that were built once, compiled once for all connections. */
export class Statements {
  readonly #compiler: Kysely<any>;
  #bound = new WeakMap<Statement<any, any>, Bound>();
  #named = 0;

  constructor(compiler: Kysely<any>) {
    this.#compiler = compiler;
  }

  /** As pg takes it: under a name, by which each connection prepares it once. */
  query<Params>(statement: Statement<Params, any>, params: Params): Query {
    const { name, text, slots } = this.#of(statement);
    return { name, text, values: valuesOf(slots, params) };
  }

  /** As few as will do for all of these. */
  queries<Params>(statement: Statement<Params, any>, all: readonly Params[]): Query[] {
    const bound = this.#of(statement);
    const { name, text, slots } = bound;
    const larger = (bound.larger ??= this.#larger(bound));
    const queries: Query[] = [];
    for (let at = 0; at < all.length; ) {
      const one = larger.find(({ rows }) => rows <= all.length - at) ?? { rows: 1, name, text };
      const some = all.slice(at, (at += one.rows));
      queries.push({ name: one.name, text: one.text, values: some.flatMap((params) => valuesOf(slots, params)) });
    }
    return queries;
  }

  isSilent(statement: Statement<any, any>): boolean {
    return this.#of(statement).isSilent;
  }

  /** Prepares anew what is asked for next: for when the tables have changed. */
  forget(): void {
    this.#bound = new WeakMap();
  }

  #of(statement: Statement<any, any>): Bound {
    return this.#bound.get(statement) ?? this.#bind(statement);
  }

  #bind(statement: Statement<any, any>): Bound {
    const compiled = statement.build(this.#compiler).compile();
    const slots = compiled.parameters.map((value, i) => (value instanceof Parameter ? value : { constant: bindable(value, `parameter ${i + 1}`) }));
    const bound = { isSilent: isSilent(compiled.query), name: `s${++this.#named}`, text: allowed(compiled.sql), slots, compiled };
    this.#bound.set(statement, bound);
    return bound;
  }

  #larger({ name, compiled: { query, queryId, parameters } }: Bound): NonNullable<Bound['larger']> {
    const row = onlyRowOf(query);
    if (row === undefined || row.values.length !== parameters.length) return [];
    return ROWS_AT_ONCE.map((rows) => {
      const values = ValuesNode.create(Array.from({ length: rows }, () => row));
      return { rows, name: `${name}x${rows}`, text: this.#compiler.getExecutor().compileQuery({ ...(query as InsertQueryNode), values }, queryId).sql };
    });
  }
}

function valuesOf(slots: Slots, params: unknown): Bindable[] {
  return slots.map((slot) => (slot instanceof Parameter ? bindable((params as Record<string, unknown>)[slot.name], slot.name) : slot.constant));
}

/** Of a statement that adds it, whatever it finds: what changes a row that is there may not meet the same one twice. */
function onlyRowOf(query: RootOperationNode): ValuesNode['values'][number] | undefined {
  if (!InsertQueryNode.is(query) || query.values === undefined || !ValuesNode.is(query.values)) return undefined;
  const addsOnly = query.onConflict === undefined || query.onConflict.doNothing === true;
  return addsOnly ? query.values.values[0] : undefined;
}

/** Any SQL text as pg takes it; the way of Kysely's builders. */
export function queryOf(sql: string, parameters: readonly unknown[]): Query {
  return { text: allowed(sql), values: parameters.map((value, i) => bindable(value, `parameter ${i + 1}`)), queryMode: 'extended' };
}

export function resultOf({ command, rowCount, rows }: Pick<Answer, 'command' | 'rows'> & { readonly rowCount: number | null }): QueryResult<any> {
  const changes = command === 'INSERT' || command === 'UPDATE' || command === 'DELETE' || command === 'MERGE';
  return changes ? { rows, numAffectedRows: BigInt(rowCount ?? 0) } : { rows };
}

function isSilent(query: RootOperationNode): boolean {
  return (InsertQueryNode.is(query) || UpdateQueryNode.is(query) || DeleteQueryNode.is(query)) && query.returning === undefined;
}

function allowed(sql: string): string {
  if (RESERVED.test(sql)) throw new Fault('internal', 'Transactions and settings of connections are the storage adapter\'s business.', { reason: 'reserved_statement' });
  return sql;
}
