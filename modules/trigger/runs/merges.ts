import { inject, injectable } from 'inversify';
import type { StorageTransaction } from '../../../src/ports/storage.ts';
import { ofPerson, repoint, strike } from '../agenda/agenda-statements.ts';
import { liveEpoch } from '../automations/automation-statements.ts';
import { mergePerson } from '../people/people.ts';
import { reentryWindow } from '../rules/reentry.ts';
import { VersionRules } from '../rules/version-rules.ts';
import type { TriggerTables } from '../tables.ts';
import { Tally } from './counts.ts';
import { copyEntries, dropEntries, dropEntry, entriesWithin } from './entry-statements.ts';

type Tx = StorageTransaction<TriggerTables>;

const BATCH_ROWS = 500;
/** Of one person; more than these are not looked at for doubles. */
const MOST_WAITING = 1_000;

/** What was planned for a person goes on under the id of the one that they went up in. */
@injectable()
export class Merges {
  readonly #versions: VersionRules;

  constructor(@inject(VersionRules) versions: VersionRules) {
    this.#versions = versions;
  }

  /** Repeating it changes nothing. */
  async merge(tx: Tx, workspace: string, from: string, into: string): Promise<void> {
    await mergePerson(tx, workspace, from, into);
    await tx.run(copyEntries, { workspace, from, into });
    // Not by what was copied: the other may have entered with the same events.
    if ((await tx.run(dropEntries, { workspace, personId: from })).length === 0) return;
    while ((await tx.run(repoint, { workspace, from, into, limit: BATCH_ROWS })).length === BATCH_ROWS);
    await this.#endDoubles(tx, workspace, into);
  }

  /**
   * Both may have entered an automation that lets one person in once: what has been sent stays, of what waits the
   * soonest, and the rest ends.
   */
  async #endDoubles(tx: Tx, workspace: string, personId: string): Promise<void> {
    const waiting = await this.#waiting(tx, workspace, personId);
    const undecided = new Set(waiting.map((row) => `${row.automation_id} ${row.event_id}`));
    const tally = new Tally();
    for (const row of waiting) {
      const automationId = row.automation_id;
      undecided.delete(`${automationId} ${row.event_id}`);
      const { rule } = await this.#versions.get(tx, workspace, automationId, row.version);
      const window = reentryWindow(rule.reentry, row.event_at);
      const others = await tx.run(entriesWithin, { workspace, personId, automationId, ...window, limit: MOST_WAITING });
      const keepsOut = others.some(({ event_id: id }) => id !== row.event_id && !undecided.has(`${automationId} ${id}`));
      if (!keepsOut) continue;
      undecided.add(`${automationId} ${row.event_id}`);
      await tx.run(strike, { due: row.due, runId: row.run_id });
      // Without its entry, or it would keep the other out at the next merge.
      await tx.run(dropEntry, { workspace, personId, automationId, eventAt: row.event_at, eventId: row.event_id });
      tally.settle(workspace, automationId, 'left_merged');
    }
    await tally.write(tx);
  }

  async #waiting(tx: Tx, workspace: string, personId: string) {
    const rows = await tx.run(ofPerson, { workspace, personId, limit: MOST_WAITING });
    const epochs = new Map<string, number | undefined>();
    for (const { automation_id: id } of rows) {
      if (!epochs.has(id)) epochs.set(id, (await tx.run(liveEpoch, { workspace, id }))[0]?.epoch);
    }
    return rows.filter((row) => epochs.get(row.automation_id) === row.epoch);
  }
}
