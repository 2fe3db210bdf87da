import { type Bit, statement } from '../../../src/ports/storage.ts';
import type { LiveRuleRow } from '../rules/live-rule.ts';
import type { TriggerTables } from '../tables.ts';

type Key = { workspace: string; id: string };
type Live = Key & { version: number; epoch: number };

/** What an automation which is on follows now; nothing when it is off. */
export const liveRule = statement<TriggerTables, Key>()<LiveRuleRow>((db, p) =>
  db
    .selectFrom('automations as a')
    .innerJoin('automation_versions as v', (on) =>
      on.onRef('v.workspace', '=', 'a.workspace').onRef('v.automation_id', '=', 'a.id').onRef('v.version', '=', 'a.version'),
    )
    .select(['a.id', 'a.version', 'a.epoch', 'v.rule'])
    .where('a.workspace', '=', p('workspace'))
    .where('a.id', '=', p('id'))
    .where('a.enabled', '=', 1),
);

/** A page of a workspace's automations that are on, in order of their ids. */
export const liveRulesAfter = statement<TriggerTables, { workspace: string; after: string; limit: number }>()<LiveRuleRow>((db, p) =>
  db
    .selectFrom('automations as a')
    .innerJoin('automation_versions as v', (on) =>
      on.onRef('v.workspace', '=', 'a.workspace').onRef('v.automation_id', '=', 'a.id').onRef('v.version', '=', 'a.version'),
    )
    .select(['a.id', 'a.version', 'a.epoch', 'v.rule'])
    .where('a.workspace', '=', p('workspace'))
    .where('a.id', '>', p('after'))
    .where('a.enabled', '=', 1)
    .orderBy('a.id')
    .limit(p('limit')),
);

/** The number of the workspace's last change; no row when it has no automations. */
export const lastRevision = statement<TriggerTables, { workspace: string }>()((db, p) =>
  db.selectFrom('automations').select('revision').where('workspace', '=', p('workspace')).orderBy('revision', 'desc').limit(1),
);

/** What has changed since, in order of the changes; those that are off as well. */
export const changedSince = statement<TriggerTables, { workspace: string; revision: number; limit: number }>()<LiveRuleRow & { readonly revision: number; readonly enabled: Bit }>((db, p) =>
  db
    .selectFrom('automations as a')
    .innerJoin('automation_versions as v', (on) =>
      on.onRef('v.workspace', '=', 'a.workspace').onRef('v.automation_id', '=', 'a.id').onRef('v.version', '=', 'a.version'),
    )
    .select(['a.id', 'a.version', 'a.epoch', 'v.rule', 'a.revision', 'a.enabled'])
    .where('a.workspace', '=', p('workspace'))
    .where('a.revision', '>', p('revision'))
    .orderBy('a.revision')
    .limit(p('limit')),
);

/** The next workspace that has automations, in order of their ids. */
export const workspacesAfter = statement<TriggerTables, { after: string }>()((db, p) =>
  db.selectFrom('automations').select('workspace').where('workspace', '>', p('after')).orderBy('workspace').limit(1),
);

/** Whether an automation is as it was: on, and of this version and epoch. */
export const stillLive = statement<TriggerTables, Live>()((db, p) =>
  db
    .selectFrom('automations')
    .select('id')
    .where('workspace', '=', p('workspace'))
    .where('id', '=', p('id'))
    .where('version', '=', p('version'))
    .where('epoch', '=', p('epoch'))
    .where('enabled', '=', 1),
);

/** The epoch whose rows in the agenda are to be fired; none when the automation is off. */
export const liveEpoch = statement<TriggerTables, Key>()((db, p) =>
  db.selectFrom('automations').select('epoch').where('workspace', '=', p('workspace')).where('id', '=', p('id')).where('enabled', '=', 1),
);

export const ruleOfVersion = statement<TriggerTables, Key & { version: number }>()((db, p) =>
  db
    .selectFrom('automation_versions')
    .select('rule')
    .where('workspace', '=', p('workspace'))
    .where('automation_id', '=', p('id'))
    .where('version', '=', p('version')),
);
