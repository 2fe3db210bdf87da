import { inject, injectable } from 'inversify';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import type { Transaction } from '../../../src/ports/storage.ts';
import { liveEpoch } from '../automations/automation-statements.ts';
import { newestFacts } from '../people/people.ts';
import type { Properties } from '../../../src/kernel/conditions/field.ts';
import { VersionRules } from '../rules/version-rules.ts';
import { type LeftColumn, Tally } from '../runs/counts.ts';
import { requestSend } from '../runs/sends.ts';
import type { TriggerTables } from '../tables.ts';
import { takeDue } from './agenda-statements.ts';

type Tx = Transaction<TriggerTables>;
type Row = TriggerTables['agenda'];

export interface Fired {
  /** Rows that were taken out of the agenda. */
  readonly taken: number;
  readonly sent: number;
  /** The due time of the oldest of them. */
  readonly oldest: EpochMs | undefined;
}

/** Does what is due, within the caller's transaction: taken out, decided, asked for and counted together or not at all. */
@injectable()
export class Firing {
  readonly #versions: VersionRules;

  constructor(@inject(VersionRules) versions: VersionRules) {
    this.#versions = versions;
  }

  async fire(tx: Tx, now: EpochMs, limit: number): Promise<Fired> {
    const rows = await tx.run(takeDue, { now, limit });
    rows.sort((a, b) => a.due - b.due || (a.run_id < b.run_id ? -1 : 1));
    const isLive = await this.#epochs(tx, rows);
    const tally = new Tally();
    let sent = 0;
    for (const row of rows) {
      // Ended when its automation was turned off, and counted then.
      if (!isLive(row)) continue;
      const how = await this.#decide(tx, row);
      if (how === 'sent') sent++;
      tally.settle(row.workspace, row.automation_id, how);
    }
    await tally.write(tx);
    return { taken: rows.length, sent, oldest: rows[0]?.due };
  }

  async #decide(tx: Tx, row: Row): Promise<'sent' | LeftColumn> {
    const { workspace, automation_id: automationId, version, person_id: personId } = row;
    const { rule, still } = await this.#versions.get(tx, workspace, automationId, version);
    const properties = JSON.parse(row.event) as Properties;
    if (still !== null) {
      const facts = await newestFacts(tx, workspace, personId);
      if (facts === undefined) return 'left_gone';
      if (!still(properties, facts)) return 'left_unqualified';
    }
    await requestSend(tx, row.run_id, { workspace, automationId, version, personId, eventId: row.event_id, properties }, rule.send);
    return 'sent';
  }

  async #epochs(tx: Tx, rows: readonly Row[]): Promise<(row: Row) => boolean> {
    const epochs = new Map<string, number | undefined>();
    const key = (row: Row): string => `${row.workspace} ${row.automation_id}`;
    for (const row of rows) {
      if (!epochs.has(key(row))) epochs.set(key(row), (await tx.run(liveEpoch, { workspace: row.workspace, id: row.automation_id }))[0]?.epoch);
    }
    return (row) => epochs.get(key(row)) === row.epoch;
  }
}
