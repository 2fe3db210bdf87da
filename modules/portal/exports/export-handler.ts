import { inject, injectable } from 'inversify';
import type { Compilable, Kysely } from 'kysely';
import type { z } from 'zod';
import { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Received } from '../../../src/kernel/message.ts';
import type { EffectHandler } from '../../../src/kernel/module.ts';
import { Blobs } from '../../../src/ports/blob.ts';
import { Store } from '../../../src/ports/storage.ts';
import { afterFault } from '../files/file-work.ts';
import { readerOf } from '../pieces.ts';
import { findSegment } from '../segments/segment-rows.ts';
import type { ExportRow, Tables } from '../tables.ts';
import { EXPORTED, type Exported, FORMATS, type Row } from './export-text.ts';
import { blobKey, type exportRequested } from './exports.ts';

/** Turned into text in one go: few milliseconds. */
const BATCH_ROWS = 500;

/** By an index, in its order: a snapshot is read on while others write. */
const QUERIES = {
  people: (db: Kysely<Tables>, { workspace_id: workspace, segment_id: segment }: ExportRow) => {
    const everybody = db
      .selectFrom('people')
      .select(['id', 'user_id', 'email', 'time_zone', 'consent_email', 'attributes_json', 'created_at', 'updated_at'])
      .where('workspace_id', '=', workspace)
      .where('gone', '=', 0)
      .orderBy('id');
    if (segment === null) return everybody;
    return everybody.where(({ exists, selectFrom }) => exists(selectFrom('segment_members').select('person_id').where('workspace_id', '=', workspace).where('segment_id', '=', segment).whereRef('person_id', '=', 'people.id')));
  },
  events: (db: Kysely<Tables>, { workspace_id: workspace }: ExportRow) =>
    db.selectFrom('events').select(['id', 'person_id', 'type', 'name', 'properties_json', 'context_json', 'time', 'received_at']).where('workspace_id', '=', workspace).orderBy('id'),
} as const satisfies Record<keyof typeof EXPORTED, (db: Kysely<Tables>, row: ExportRow) => Compilable<Row>>;

interface Written {
  rows: number;
}

/** Writes an export's file over one snapshot. Cut off, it begins anew; told of again when it is done, it does nothing. */
@injectable()
export class ExportHandler implements EffectHandler<z.infer<(typeof exportRequested)['schema']>> {
  readonly #store: Store<Tables>;
  readonly #blobs: Blobs;
  readonly #clock: Clock;

  constructor(@inject(Store) store: Store<Tables>, @inject(Blobs) blobs: Blobs, @inject(Clock) clock: Clock) {
    this.#store = store;
    this.#blobs = blobs;
    this.#clock = clock;
  }

  async perform({ workspace, payload, last }: Received<z.infer<(typeof exportRequested)['schema']>>, signal: AbortSignal): Promise<{ readonly notBefore: number; readonly reason: string } | undefined> {
    const row = await this.#store.db.selectFrom('exports').selectAll().where('workspace_id', '=', workspace!).where('id', '=', payload.exportId).executeTakeFirst();
    // Deleted while it was being written by a process that did not live to see it.
    if (row === undefined) await this.#blobs.remove(blobKey(workspace!, payload.exportId));
    if (row?.state !== 'running') return undefined;
    const written: Written = { rows: 0 };
    try {
      await this.#requireFilled(row);
      const bytes = await this.#blobs.write(blobKey(row.workspace_id, row.id), this.#content(row, payload.seen, written, signal), signal);
      await this.#settle(row, { state: 'done', rows: written.rows, bytes });
    } catch (thrown) {
      const outcome = afterFault(thrown, { signal, now: this.#clock.now(), since: row.created_at, last });
      if ('again' in outcome) return outcome.again;
      await this.#settle(row, { state: 'failed', reason: outcome.failed });
    }
    return undefined;
  }

  /** Who belongs to the segment may still be being found. */
  async #requireFilled({ workspace_id: workspace, segment_id: segment }: ExportRow): Promise<void> {
    if (segment === null || (await findSegment(this.#store, workspace, segment)).filled_to === null) return;
    throw new Fault('unavailable', 'Not everybody has been looked at for the segment yet.', { reason: 'segment_filling' });
  }

  async *#content(row: ExportRow, seen: string | undefined, written: Written, signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
    const { what, format, segment_id: segment } = row;
    const exported: Exported = EXPORTED[what as keyof typeof EXPORTED];
    const { head, line } = FORMATS[format as keyof typeof FORMATS];
    yield Buffer.from(head(exported));
    // A segment may have been filled since it was asked for, behind the position that a replica is known to have seen.
    const lists = readerOf(this.#store, { seen: segment === null ? seen : undefined });
    for await (const rows of lists.scan<Row>(QUERIES[what as keyof typeof QUERIES](lists.db, row), { batchRows: BATCH_ROWS, signal })) {
      written.rows += rows.length;
      yield Buffer.from(rows.map((row) => line(exported, row)).join(''));
    }
  }

  /** Once: a process that stood still does not undo what another has made of it. */
  async #settle({ workspace_id: workspace, id }: ExportRow, change: Partial<ExportRow>): Promise<void> {
    const isThere = await this.#store.transaction(async (tx) => {
      await tx.db.updateTable('exports').set(change).where('workspace_id', '=', workspace).where('id', '=', id).where('state', '=', 'running').execute();
      return (await tx.db.selectFrom('exports').select('id').where('workspace_id', '=', workspace).where('id', '=', id).execute()).length > 0;
    });
    // Deleted while it was being written.
    if (!isThere) await this.#blobs.remove(blobKey(workspace, id));
  }
}
