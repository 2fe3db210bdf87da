import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Kysely, sql } from 'kysely';
import { migrations } from '../../../../../adapters/bus/embedded/schema.ts';
import * as statements from '../../../../../adapters/bus/embedded/statements.ts';
import { sqliteAt } from '../../../../support/buses.ts';
import { testContext } from '../../../../support/context.ts';

interface Built {
  build(db: Kysely<unknown>): { compile(): { readonly sql: string } };
}

/** Small tables, rows that the statement itself brings, and what a limit inside has cut. */
const READ_WHOLE = /^SCAN (?:(?:queue|workspace|paused_workspace|json_each|\d+-ROW VALUES CLAUSE)\b|[sl] VIRTUAL TABLE|\(subquery)/;
/** Named ids and lists of numbers are at most a thousand; a short queue is what its caller makes sure of. */
const SORTING = ['browseIds', 'nextOfShort'];

test('no statement reads, or sorts, more of the messages than it asks for', async (t) => {
  const place = testContext();
  const storage = sqliteAt(place)('bus');
  t.after(async () => {
    await storage.stop(1_000);
    place.remove();
  });
  await storage.start();
  await storage.migrate(migrations);
  const named = Object.entries(statements).filter((entry): entry is [string, Built & (typeof entry)[1]] => typeof entry[1] === 'object' && 'build' in entry[1]);
  assert.ok(named.length > 25);
  const faults: string[] = [];
  await storage.transaction(async (tx) => {
    for (const [name, statement] of named) {
      const { sql: text } = statement.build(tx.db).compile();
      const { rows } = await sql<{ detail: string }>`explain query plan ${sql.raw(text)}`.execute(tx.db);
      for (const { detail } of rows) {
        if (detail.startsWith('SCAN') && !READ_WHOLE.test(detail)) faults.push(`${name}: ${detail}`);
        if (detail.includes('TEMP B-TREE') && !SORTING.includes(name)) faults.push(`${name}: ${detail}`);
        if (/INDEX message_place \(queue=\?( AND state<\?)?\)$/.test(detail) && !SORTING.includes(name)) faults.push(`${name}: ${detail}`);
      }
    }
  });
  assert.deepEqual(faults, []);
});
