import { DeleteQueryNode, InsertQueryNode, type Kysely, type QueryResult, type RootOperationNode, UpdateQueryNode } from 'kysely';
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

interface Bound {
  /** A write that answers no rows, whatever it finds. */
  readonly isSilent: boolean;
  readonly name: string;
  readonly text: string;
  /** In the order of the placeholders: a parameter's name, or a constant that is bound as it is. */
  readonly slots: readonly (Parameter | { readonly constant: Bindable })[];
}

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
    const values = slots.map((slot) => (slot instanceof Parameter ? bindable((params as Record<string, unknown>)[slot.name], slot.name) : slot.constant));
    return { name, text, values };
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
    const { sql, parameters, query } = statement.build(this.#compiler).compile();
    const slots = parameters.map((value, i) => (value instanceof Parameter ? value : { constant: bindable(value, `parameter ${i + 1}`) }));
    const bound = { isSilent: isSilent(query), name: `s${++this.#named}`, text: allowed(sql), slots };
    this.#bound.set(statement, bound);
    return bound;
  }
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
