import { type DatabaseConnection, DefaultQueryExecutor, type DialectAdapter, type DatabaseIntrospector, type Driver, Kysely, type QueryCompiler, type QueryResult } from 'kysely';
import { Fault } from '../../../src/kernel/fault.ts';

/** What Kysely must know of a database to speak its SQL. */
export interface SqlDialect {
  readonly compiler: QueryCompiler;
  readonly adapter: DialectAdapter;
  readonly introspector: (db: Kysely<any>) => DatabaseIntrospector;
}

export type Execute = (sql: string, parameters: readonly unknown[]) => Promise<QueryResult<any>>;

/** Transactions and connections are the storage's, not the query builder's. */
const driver: Driver = {
  init: async () => {},
  acquireConnection: refuse,
  beginTransaction: refuse,
  commitTransaction: refuse,
  rollbackTransaction: refuse,
  releaseConnection: async () => {},
  destroy: async () => {},
};

/** Makes query builders whose queries run through `execute`. One costs 0.2 µs: each transaction has its own. */
export function queryBuilderFor({ compiler, adapter, introspector }: SqlDialect): <DB>(execute: Execute) => Kysely<DB> {
  const dialect = { createDriver: () => driver, createQueryCompiler: () => compiler, createAdapter: () => adapter, createIntrospector: introspector };
  return <DB>(execute: Execute) => {
    const connection: DatabaseConnection = {
      executeQuery: (query) => execute(query.sql, query.parameters),
      streamQuery: () => {
        throw new Fault('internal', 'Long reads go through the storage\'s `scan`.', { reason: 'reserved_statement' });
      },
    };
    const executor = new DefaultQueryExecutor(compiler, adapter, { provideConnection: (consumer) => consumer(connection) });
    return new Kysely<DB>({ config: { dialect }, driver, dialect, executor });
  };
}

async function refuse(): Promise<never> {
  throw new Fault('internal', 'Transactions go through the storage\'s `transaction`.', { reason: 'reserved_statement' });
}
