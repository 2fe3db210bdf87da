import { type StorageTransaction, statement } from '../../../src/ports/storage.ts';
import type { TriggerTables } from '../tables.ts';

/** Why somebody who entered was not sent to, by the column that counts it. */
export const LEFT_REASONS = {
  /** `still` did not hold. */
  left_unqualified: 'no_longer_qualifies',
  left_gone: 'person_gone',
  left_off: 'turned_off',
  /** Two persons became one, whom the re-entry rule lets in once only. */
  left_merged: 'merged',
} as const;
export type LeftColumn = keyof typeof LEFT_REASONS;

/** Changes of an automation's counts. At every commit entered = waiting + sent + all that left. */
export type CountChange = Partial<Record<'entered' | 'waiting' | 'sent' | LeftColumn | 'turned_away', number>>;

interface Params {
  workspace: string;
  id: string;
  entered: number;
  waiting: number;
  sent: number;
  left_unqualified: number;
  left_gone: number;
  left_merged: number;
  turned_away: number;
}

const add = statement<TriggerTables, Params>()((db, p) =>
  db
    .updateTable('automations')
    .set((eb) => ({
      entered: eb('entered', '+', p('entered')),
      waiting: eb('waiting', '+', p('waiting')),
      sent: eb('sent', '+', p('sent')),
      left_unqualified: eb('left_unqualified', '+', p('left_unqualified')),
      left_gone: eb('left_gone', '+', p('left_gone')),
      left_merged: eb('left_merged', '+', p('left_merged')),
      turned_away: eb('turned_away', '+', p('turned_away')),
    }))
    .where('workspace', '=', p('workspace'))
    .where('id', '=', p('id')),
);

const NO_CHANGE = { entered: 0, waiting: 0, sent: 0, left_unqualified: 0, left_gone: 0, left_merged: 0, turned_away: 0 };

async function addCounts(tx: StorageTransaction<TriggerTables>, workspace: string, automationId: string, change: CountChange): Promise<void> {
  await tx.run(add, { ...NO_CHANGE, ...change, workspace, id: automationId });
}

/** Gathers changes of many automations, to write each one once. */
export class Tally {
  readonly #changes = new Map<string, { readonly workspace: string; readonly automationId: string; readonly change: CountChange }>();

  /** One run that waited has come to this. */
  settle(workspace: string, automationId: string, how: 'sent' | LeftColumn): void {
    this.add(workspace, automationId, { waiting: -1, [how]: 1 });
  }

  add(workspace: string, automationId: string, change: CountChange): void {
    const key = JSON.stringify([workspace, automationId]);
    let entry = this.#changes.get(key);
    if (entry === undefined) this.#changes.set(key, (entry = { workspace, automationId, change: {} }));
    for (const [column, amount] of Object.entries(change) as [keyof CountChange, number][]) entry.change[column] = (entry.change[column] ?? 0) + amount;
  }

  async write(tx: StorageTransaction<TriggerTables>): Promise<void> {
    for (const { workspace, automationId, change } of this.#changes.values()) await addCounts(tx, workspace, automationId, change);
  }
}
