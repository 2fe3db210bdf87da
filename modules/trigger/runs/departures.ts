import { injectable } from 'inversify';
import type { StorageTransaction } from '../../../src/ports/storage.ts';
import { takePersons } from '../agenda/agenda-statements.ts';
import { liveEpoch } from '../automations/automation-statements.ts';
import type { TriggerTables } from '../tables.ts';
import { Tally } from './counts.ts';

const BATCH_ROWS = 500;

/** Ends what waits for persons who are gone. */
@injectable()
export class Departures {
  async endAll(tx: StorageTransaction<TriggerTables>, workspace: string, personId: string): Promise<void> {
    const tally = new Tally();
    const epochs = new Map<string, number | undefined>();
    for (;;) {
      const rows = await tx.run(takePersons, { workspace, personId, limit: BATCH_ROWS });
      for (const { automation_id: automationId, epoch } of rows) {
        if (!epochs.has(automationId)) epochs.set(automationId, (await tx.run(liveEpoch, { workspace, id: automationId }))[0]?.epoch);
        // A row of an older epoch was counted when the automation was turned off.
        if (epochs.get(automationId) === epoch) tally.settle(workspace, automationId, 'left_gone');
      }
      if (rows.length < BATCH_ROWS) break;
    }
    await tally.write(tx);
  }
}
