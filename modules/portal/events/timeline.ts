import { setImmediate as nextTurn } from 'node:timers/promises';
import { inject, injectable } from 'inversify';
import type { Call } from '../../../src/kernel/call.ts';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { statement, Store } from '../../../src/ports/storage.ts';
import type { Attributes } from '../contract.ts';
import { mergedIds, personById } from '../people/people-rows.ts';
import { type Page, readerOf, readInPieces } from '../pieces.ts';
import { MOST_MERGED } from '../people/working-set.ts';
import type { EventRow, Tables } from '../tables.ts';

export interface RecordedEvent {
  readonly eventId: string;
  readonly type: 'track' | 'page' | 'screen';
  readonly name: string;
  readonly properties: Attributes;
  readonly context: Attributes | null;
  readonly time: EpochMs;
  readonly receivedAt: EpochMs;
}

/** Of the whole workspace: with whom it was recorded for. */
export interface RecordedEventOf extends RecordedEvent {
  readonly personId: string;
}

/** Where a page of the timeline ended. */
export interface TimelineCursor {
  readonly time: EpochMs;
  readonly id: string;
}

const newest = statement<Tables, { workspace: string; person: string; time: number; id: string; floorTime: number; floorId: string; limit: number }>()((db, p) =>
  db
    .selectFrom('events')
    .selectAll()
    .where('person_id', '=', p('person'))
    .where('workspace_id', '=', p('workspace'))
    .where((eb) => eb(eb.refTuple('time', 'id'), '<', eb.tuple(p('time'), p('id'))))
    .where((eb) => eb(eb.refTuple('time', 'id'), '>', eb.tuple(p('floorTime'), p('floorId'))))
    .orderBy('time', 'desc')
    .orderBy('id', 'desc')
    .limit(p('limit')),
);

/** Asked for before the event loop gets its turn. */
const PEOPLE_AT_ONCE = 50;

/** What a person has done. */
@injectable()
export class Timeline {
  readonly #store: Store<Tables>;

  constructor(@inject(Store) store: Store<Tables>) {
    this.#store = store;
  }

  /**
   * Newest first by the time that it happened, with the events of everybody who went up in her: events stay where they
   * were recorded, so each of them is asked for her newest, and those are put together. Fault `not_found`/`person_not_found`.
   */
  async list(personId: string, page: Omit<Page, 'before'> & { readonly before?: TimelineCursor | undefined }, call: Call): Promise<RecordedEvent[]> {
    const workspace = call.requireWorkspace();
    const survivor = await this.#survivorOf(workspace, personId);
    const merged = await this.#store.run(mergedIds, { workspace, survivor, limit: MOST_MERGED });
    const lists = readerOf(this.#store, page);
    const { time, id } = page.before ?? { time: Number.MAX_SAFE_INTEGER, id: '' };
    let rows: EventRow[] = [];
    for (const [i, person] of [survivor, ...merged.map((row) => row.id)].entries()) {
      if (i % PEOPLE_AT_ONCE === PEOPLE_AT_ONCE - 1) await nextTurn();
      // Once the page is full, only what is newer than its end is asked for.
      const floor = rows.length < page.limit ? undefined : rows.at(-1);
      const more = await lists.run(newest, { workspace, person, time, id, floorTime: floor?.time ?? 0, floorId: floor?.id ?? '', limit: page.limit });
      if (more.length > 0) rows = [...rows, ...more].sort(newestFirst).slice(0, page.limit);
    }
    return rows.map(toEvent);
  }

  /** Of everybody, newest first by arrival. `before` is the id of the last one seen. */
  recent(page: Page, call: Call): Promise<RecordedEventOf[]> {
    const query = readerOf(this.#store, page).db.selectFrom('events').selectAll().where('workspace_id', '=', call.requireWorkspace()).orderBy('id', 'desc');
    return readInPieces<RecordedEventOf>(page.limit, async (limit, last) => {
      const before = last?.eventId ?? page.before;
      const rows = await (before === undefined ? query : query.where('id', '<', before)).limit(limit).execute();
      return rows.map((row) => ({ ...toEvent(row), personId: row.person_id }));
    });
  }

  async #survivorOf(workspace: string, personId: string): Promise<string> {
    const [row] = await this.#store.run(personById, { workspace, id: personId });
    const [survivor] = row?.merged_into == null ? [row] : await this.#store.run(personById, { workspace, id: row.merged_into });
    if (survivor === undefined || survivor.gone === 1) throw new Fault('not_found', 'There is no such person in this workspace.', { reason: 'person_not_found' });
    return survivor.id;
  }
}

function newestFirst(a: EventRow, b: EventRow): number {
  return b.time - a.time || (a.id < b.id ? 1 : a.id > b.id ? -1 : 0);
}

function toEvent(row: EventRow): RecordedEvent {
  return {
    eventId: row.id,
    type: row.type as RecordedEvent['type'],
    name: row.name,
    properties: JSON.parse(row.properties_json) as Attributes,
    context: row.context_json === null ? null : (JSON.parse(row.context_json) as Attributes),
    time: row.time,
    receivedAt: row.received_at,
  };
}
