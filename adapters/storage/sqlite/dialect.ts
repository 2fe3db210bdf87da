import { SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from 'kysely';
import { queryBuilderFor } from '../shared/query-builder.ts';

/** A query builder that speaks SQLite's SQL. */
export const kyselyOver = queryBuilderFor({ compiler: new SqliteQueryCompiler(), adapter: new SqliteAdapter(), introspector: (db) => new SqliteIntrospector(db) });
