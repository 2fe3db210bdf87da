import { type Bit, type Transaction, statement } from '../../../src/ports/storage.ts';
import type { Automation, AutomationRule } from '../contract.ts';
import type { TriggerTables } from '../tables.ts';
import { lastRevision } from './automation-statements.ts';

type Key = { workspace: string; id: string };
type Tx = Transaction<TriggerTables>;

/** An automation as its rows have it. */
interface Row {
  readonly id: string;
  readonly name: string;
  readonly enabled: Bit;
  readonly version: number;
  readonly rule: string;
  readonly created_at: number;
  readonly updated_at: number;
}

export function toAutomation(row: Row): Automation {
  return {
    automationId: row.id,
    name: row.name,
    enabled: row.enabled === 1,
    version: row.version,
    rule: JSON.parse(row.rule) as AutomationRule,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

export const automationById = statement<TriggerTables, Key>()<Row>((db, p) =>
  db
    .selectFrom('automations as a')
    .innerJoin('automation_versions as v', (on) =>
      on.onRef('v.workspace', '=', 'a.workspace').onRef('v.automation_id', '=', 'a.id').onRef('v.version', '=', 'a.version'),
    )
    .select(['a.id', 'a.name', 'a.enabled', 'a.version', 'v.rule', 'a.created_at', 'a.updated_at'])
    .where('a.workspace', '=', p('workspace'))
    .where('a.id', '=', p('id')),
);

/** A page, newest first. */
export const automationsBefore = statement<TriggerTables, { workspace: string; time: number; id: string; limit: number }>()<Row>((db, p) =>
  db
    .selectFrom('automations as a')
    .innerJoin('automation_versions as v', (on) =>
      on.onRef('v.workspace', '=', 'a.workspace').onRef('v.automation_id', '=', 'a.id').onRef('v.version', '=', 'a.version'),
    )
    .select(['a.id', 'a.name', 'a.enabled', 'a.version', 'v.rule', 'a.created_at', 'a.updated_at'])
    .where('a.workspace', '=', p('workspace'))
    .where((eb) => eb(eb.refTuple('a.created_at', 'a.id'), '<', eb.tuple(p('time'), p('id'))))
    .orderBy('a.created_at', 'desc')
    .orderBy('a.id', 'desc')
    .limit(p('limit')),
);

/** Newest first. */
export const versionsOf = statement<TriggerTables, Key & { limit: number }>()((db, p) =>
  db
    .selectFrom('automation_versions')
    .select(['version', 'rule', 'created_at'])
    .where('workspace', '=', p('workspace'))
    .where('automation_id', '=', p('id'))
    .orderBy('version', 'desc')
    .limit(p('limit')),
);

export const countsOf = statement<TriggerTables, Key>()((db, p) =>
  db
    .selectFrom('automations')
    .select(['entered', 'waiting', 'sent', 'left_unqualified', 'left_gone', 'left_off', 'left_merged', 'turned_away'])
    .where('workspace', '=', p('workspace'))
    .where('id', '=', p('id')),
);

export async function countAutomations(tx: Tx, workspace: string): Promise<number> {
  const [row] = await tx.db.selectFrom('automations').select((eb) => eb.fn.countAll<number>().as('count')).where('workspace', '=', workspace).execute();
  return row!.count;
}

/** The rule that the call of this name has saved; undefined when there was none. */
export async function savedBy(tx: Tx, workspace: string, id: string, caller: string): Promise<AutomationRule | undefined> {
  const row = await tx.db.selectFrom('automation_versions').select('rule').where('workspace', '=', workspace).where('automation_id', '=', id).where('saved_by', '=', caller).orderBy('version', 'desc').limit(1).executeTakeFirst();
  return row === undefined ? undefined : (JSON.parse(row.rule) as AutomationRule);
}

export async function insertAutomation(tx: Tx, workspace: string, automation: Automation): Promise<void> {
  const { automationId: id, name, version, createdAt, updatedAt } = automation;
  const revision = await nextRevision(tx, workspace);
  await tx.db.insertInto('automations').values({ ...NOTHING_COUNTED, workspace, id, version, epoch: 1, enabled: automation.enabled ? 1 : 0, revision, name, created_at: createdAt, updated_at: updatedAt }).execute();
}

const NOTHING_COUNTED = { entered: 0, waiting: 0, sent: 0, left_unqualified: 0, left_gone: 0, left_off: 0, left_merged: 0, turned_away: 0 };

export async function insertVersion(tx: Tx, workspace: string, automation: Automation, savedBy: string | null): Promise<void> {
  const { automationId, version, rule, updatedAt } = automation;
  await tx.db
    .insertInto('automation_versions')
    .values({ workspace, automation_id: automationId, version, rule: JSON.stringify(rule), created_at: updatedAt, saved_by: savedBy })
    .execute();
}

export async function updateAutomation(tx: Tx, workspace: string, { automationId, name, version, updatedAt }: Automation): Promise<void> {
  const revision = await nextRevision(tx, workspace);
  await tx.db.updateTable('automations').set({ name, version, revision, updated_at: updatedAt }).where('workspace', '=', workspace).where('id', '=', automationId).execute();
}

export async function turnOn(tx: Tx, workspace: string, id: string, now: number): Promise<void> {
  const revision = await nextRevision(tx, workspace);
  await tx.db.updateTable('automations').set({ enabled: 1, revision, updated_at: now }).where('workspace', '=', workspace).where('id', '=', id).where('enabled', '=', 0).execute();
}

/**
 * Ends what waits in one step, however much it is: the epoch moves on, so that the agenda's rows of before are not
 * fired, and they are cleared away later.
 */
export async function turnOff(tx: Tx, workspace: string, id: string, now: number): Promise<void> {
  const revision = await nextRevision(tx, workspace);
  await tx.db
    .updateTable('automations')
    .set((eb) => ({ enabled: 0, epoch: eb('epoch', '+', 1), left_off: eb('left_off', '+', eb.ref('waiting')), waiting: 0, revision, updated_at: now }))
    .where('workspace', '=', workspace)
    .where('id', '=', id)
    .where('enabled', '=', 1)
    .execute();
  await tx.db.insertInto('purges').values({ workspace, automation_id: id }).onConflict((conflict) => conflict.doNothing()).execute();
}

/** Transactions are serial: no two changes get the same one. */
async function nextRevision(tx: Tx, workspace: string): Promise<number> {
  const [last] = await tx.run(lastRevision, { workspace });
  return (last?.revision ?? 0) + 1;
}
