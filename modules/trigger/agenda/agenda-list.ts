import { type Place, writeCursor } from '../../../src/kernel/cursor.ts';
import type { Bit, Reader } from '../../../src/ports/storage.ts';
import type { Trigger } from '../contract.ts';
import type { TriggerTables } from '../tables.ts';

type Page = Awaited<ReturnType<Trigger['listAgenda']>>;

export interface AgendaFilter {
  readonly workspace: string;
  readonly automationId: string | undefined;
  readonly personId: string | undefined;
  readonly after: Place | undefined;
  readonly limit: number;
}

interface Row {
  readonly due: number;
  readonly run_id: string;
  readonly automation_id: string;
  readonly version: number;
  readonly epoch: number;
  readonly person_id: string;
  readonly event_id: string;
  readonly live_epoch: number;
  readonly enabled: Bit;
}

/**
 * A page of what will happen, soonest first. Rows that wait to be cleared away are left out after the page was read,
 * so that a page may be short, or empty, and still have a next one: no page costs more than its limit.
 */
export async function listAgenda(reader: Reader<TriggerTables>, filter: AgendaFilter): Promise<Page> {
  const rows = await readPage(reader, filter);
  const last = rows.length === filter.limit ? rows.at(-1) : undefined;
  return {
    items: rows.filter((row) => row.enabled === 1 && row.epoch === row.live_epoch).map(toEntry),
    next: last === undefined ? null : writeCursor({ time: last.due, key: last.run_id }),
  };
}

function readPage(reader: Reader<TriggerTables>, { workspace, automationId, personId, after, limit }: AgendaFilter): Promise<Row[]> {
  let query = reader.db
    .selectFrom('agenda as g')
    .innerJoin('automations as a', (on) => on.onRef('a.workspace', '=', 'g.workspace').onRef('a.id', '=', 'g.automation_id'))
    .select(['g.due', 'g.run_id', 'g.automation_id', 'g.version', 'g.epoch', 'g.person_id', 'g.event_id', 'a.epoch as live_epoch', 'a.enabled'])
    .where('g.workspace', '=', workspace);
  if (personId !== undefined) query = query.where('g.person_id', '=', personId);
  if (automationId !== undefined) {
    query = query.where('g.automation_id', '=', automationId);
    // By the index of one automation only: with a person it is the person's rows that are few.
    if (personId === undefined) query = query.whereRef('g.epoch', '=', 'a.epoch').where('a.id', '=', automationId);
  }
  if (after !== undefined) query = query.where((eb) => eb(eb.refTuple('g.due', 'g.run_id'), '>', eb.tuple(after.time, after.key)));
  return query.orderBy('g.due').orderBy('g.run_id').limit(limit).execute();
}

function toEntry(row: Row): Page['items'][number] {
  return { runId: row.run_id, automationId: row.automation_id, version: row.version, personId: row.person_id, due: row.due, eventId: row.event_id };
}
