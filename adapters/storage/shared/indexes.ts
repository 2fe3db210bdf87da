import { type Kysely, sql } from 'kysely';
import type { IndexDefinition } from '../../../src/ports/storage.ts';

/** Where it is not there. Databases give back the words that it was made with, or their like. */
export async function makeIndex(db: Kysely<any>, { create }: IndexDefinition): Promise<void> {
  await sql.raw(create.replace(/^create (unique )?index (?!if not exists)/i, 'CREATE $1INDEX IF NOT EXISTS ')).execute(db);
}
