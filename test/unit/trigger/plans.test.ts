import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'kysely';
import type { Statement } from '../../../src/ports/storage.ts';
import * as agenda from '../../../modules/trigger/agenda/agenda-statements.ts';
import * as automations from '../../../modules/trigger/automations/automation-statements.ts';
import * as stored from '../../../modules/trigger/automations/stored-automations.ts';
import * as entries from '../../../modules/trigger/runs/entry-statements.ts';
import { TriggerRig } from '../../support/trigger-rig.ts';

/** Read in order of their key and cut off after one row. */
const MAY_SCAN = new Set(['soonest', 'nextPurge']);

test('no statement reads rows that it does not want', async () => {
  const rig = await new TriggerRig().start();
  const exported: Readonly<Record<string, unknown>> = { ...agenda, ...automations, ...stored, ...entries };
  const statements = Object.entries(exported).filter((entry): entry is [string, Statement<unknown, unknown>] => typeof entry[1] === 'object');
  assert.ok(statements.length > 20);
  for (const [name, statement] of statements) {
    const { sql: text } = statement.build(rig.storage.db).compile();
    const { rows } = await sql<{ detail: string }>`explain query plan ${sql.raw(text.replaceAll('?', 'null'))}`.execute(rig.storage.db);
    const plan = rows.map(({ detail }) => detail).join('; ');
    if (MAY_SCAN.has(name)) assert.match(plan, /^SCAN (agenda|p)(;|$)/, name);
    else assert.doesNotMatch(plan, /SCAN|TEMP B-TREE/, name);
    // The agenda's own keys are of all workspaces: a run carries its workspace.
    const isBounded = text.includes('"workspace"') || /"due" (=|<=) /.test(text);
    assert.ok(isBounded || name === 'soonest', `${name} does not name the workspace`);
  }
  await rig.dispose();
});
