import { statement } from '../../../src/ports/storage.ts';
import type { NotificationTables } from '../tables.ts';

type Row = NotificationTables['template_uses'];

export const noteUse = statement<NotificationTables, Row>()((db, p) =>
  db
    .insertInto('template_uses')
    .values({ workspace: p('workspace'), template_id: p('template_id'), used_at: p('used_at') })
    .onConflict((c) => c.columns(['workspace', 'template_id']).doUpdateSet({ used_at: p('used_at') })),
);

/** Of all workspaces: a process starts for all of them. */
export const newestUses = statement<NotificationTables, { since: number; most: number }>()((db, p) =>
  db.selectFrom('template_uses').select(['workspace', 'template_id']).where('used_at', '>=', p('since')).orderBy('used_at', 'desc').limit(p('most')),
);

export const forgetUse = statement<NotificationTables, Pick<Row, 'workspace' | 'template_id'>>()((db, p) =>
  db.deleteFrom('template_uses').where('workspace', '=', p('workspace')).where('template_id', '=', p('template_id')),
);
