import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'kysely';
import * as deliveries from '../../../modules/notification/deliveries/delivery-statements.ts';
import { migrations } from '../../../modules/notification/migrations.ts';
import * as templateUses from '../../../modules/notification/templates/template-use-statements.ts';
import type { Statement } from '../../../src/ports/storage.ts';
import { testContext } from '../../support/context.ts';
import { moduleStorage } from '../../support/module-storage.ts';

/** For the start of a process, which is for all workspaces. */
const OF_ALL_WORKSPACES = new Set(['newestUses']);

test('no statement reads rows that it does not want', async (t) => {
  const context = testContext();
  const storage = moduleStorage(context, 'notification');
  await storage.start();
  t.after(async () => {
    await storage.stop(1_000);
    context.remove();
  });
  await storage.migrate(migrations);
  const { findSuppressions, ...single } = deliveries;
  const sized = findSuppressions.map(({ size, statement }) => [`findSuppressions of ${size}`, statement]);
  const exported: Readonly<Record<string, unknown>> = { ...single, ...templateUses, ...Object.fromEntries(sized) };
  const statements = Object.entries(exported).filter((entry): entry is [string, Statement<unknown, unknown>] => typeof entry[1] === 'object');
  assert.ok(statements.length > 8);
  for (const [name, statement] of statements) {
    const { sql: text } = statement.build(storage.db).compile();
    const { rows } = await sql<{ detail: string }>`explain query plan ${sql.raw(text.replaceAll('?', 'null'))}`.execute(storage.db);
    const plan = rows.map(({ detail }) => detail).join('; ');
    assert.doesNotMatch(plan, /SCAN|TEMP B-TREE/, name);
    assert.equal(text.includes('"workspace" =') || text.startsWith('insert'), !OF_ALL_WORKSPACES.has(name), name);
  }
});
