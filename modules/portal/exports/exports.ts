import { inject, injectable } from 'inversify';
import { z } from 'zod';
import type { Call } from '../../../src/kernel/call.ts';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import { job } from '../../../src/kernel/message.ts';
import { Settings } from '../../../src/kernel/module.ts';
import { Blobs } from '../../../src/ports/blob.ts';
import { Store } from '../../../src/ports/storage.ts';
import { findSegment } from '../segments/segment-rows.ts';
import type { ExportRow, Tables } from '../tables.ts';
import { EXPORTED, FORMATS } from './export-text.ts';

export const What = z.enum(['people', 'events']);
export const Format = z.enum(['csv', 'ndjson']);

/** Writes the file of an export, with all that was there when it was asked for (`seen`: that position). Portal's own. */
export const exportRequested = job('portal.export', z.object({ exportId: z.string(), seen: z.string().optional() }), { lane: 'bulk' });

/** A workspace may have so many at once, those that can still be fetched included. */
const MOST_KEPT = 50;
/** Not a `retryAfterMs`: nothing changes by itself soon. */
const REMEDY = 'Delete some, or wait until they expire.';
const HOUR_MS = 3_600_000;

export interface Export {
  readonly exportId: string;
  readonly what: keyof typeof EXPORTED;
  readonly format: keyof typeof FORMATS;
  /** Of people, the id of the segment that they belong to; null for everybody. */
  readonly segment: string | null;
  /** `running` from the request until the file is whole. */
  readonly state: 'running' | 'done' | 'failed';
  readonly reason: string | null;
  readonly rows: number | null;
  readonly bytes: number | null;
  readonly createdAt: EpochMs;
  readonly expiresAt: EpochMs;
}

/** Files with everything of one kind in a workspace: asked for, written in the background, fetched, and gone after a while. */
@injectable()
export class Exports {
  readonly #store: Store<Tables>;
  readonly #blobs: Blobs;
  readonly #clock: Clock;
  readonly #keepMs: number;

  constructor(@inject(Store) store: Store<Tables>, @inject(Blobs) blobs: Blobs, @inject(Clock) clock: Clock, @inject(Settings) settings: { readonly exportHours: number }) {
    this.#store = store;
    this.#blobs = blobs;
    this.#clock = clock;
    this.#keepMs = settings.exportHours * HOUR_MS;
  }

  /** Faults `exhausted`/`too_many_exports`, `not_found`/`segment_not_found`, `invalid`/`segment_of_people`. */
  async begin({ what, format, segment = null }: Pick<Export, 'what' | 'format'> & { readonly segment?: string | null | undefined }, call: Call): Promise<Export> {
    const workspace = call.requireWorkspace();
    if (segment !== null && what !== 'people') throw new Fault('invalid', 'Only people belong to a segment. Leave the segment out, or export people.', { reason: 'segment_of_people' });
    const now = this.#clock.now();
    const row: ExportRow = { id: newId(), workspace_id: workspace, what, format, segment_id: segment, state: 'running', reason: null, rows: null, bytes: null, created_at: now, created_by: call.actor.id, expires_at: now + this.#keepMs };
    await this.#store.transaction(async (tx) => {
      if (segment !== null) await findSegment(tx, workspace, segment);
      const kept = await tx.db.selectFrom('exports').select('id').where('workspace_id', '=', workspace).limit(MOST_KEPT).execute();
      if (kept.length === MOST_KEPT) throw new Fault('exhausted', `A workspace may have ${MOST_KEPT} exports. ${REMEDY}`, { reason: 'too_many_exports', details: { remedy: REMEDY } });
      await tx.db.insertInto('exports').values(row).execute();
      await tx.publish(exportRequested, { exportId: row.id, ...(tx.position !== null && { seen: tx.position }) }, { workspace, trace: call.trace });
    });
    return toExport(row);
  }

  /** Newest first; there are never many. */
  async list(call: Call): Promise<Export[]> {
    const rows = await this.#store.db.selectFrom('exports').selectAll().where('workspace_id', '=', call.requireWorkspace()).orderBy('id', 'desc').limit(MOST_KEPT).execute();
    return rows.map(toExport);
  }

  /** Fault `not_found`/`export_not_found`. */
  async get(exportId: string, call: Call): Promise<Export> {
    const row = await this.#store.db.selectFrom('exports').selectAll().where('workspace_id', '=', call.requireWorkspace()).where('id', '=', exportId).executeTakeFirst();
    if (row === undefined) throw notFound();
    return toExport(row);
  }

  /** The file, from its beginning. Faults: `conflict`/`export_not_done`, those of the blobs. */
  content({ exportId, state }: Export, call: Call, signal: AbortSignal): AsyncIterable<Uint8Array> {
    if (state !== 'done') throw new Fault('conflict', 'The file is not there yet, or has failed.', { reason: 'export_not_done' });
    return this.#blobs.read(blobKey(call.requireWorkspace(), exportId), signal);
  }

  /** The file first, so that none is left without a row. Fault `not_found`/`export_not_found`. */
  async remove(exportId: string, call: Call): Promise<void> {
    await this.get(exportId, call);
    await this.forget(call.requireWorkspace(), exportId);
  }

  /** Those whose time is over, the first `limit`. */
  async expired(limit: number): Promise<{ readonly workspace: string; readonly id: string }[]> {
    return this.#store.db.selectFrom('exports').select(['workspace_id as workspace', 'id']).where('expires_at', '<=', this.#clock.now()).orderBy('expires_at').limit(limit).execute();
  }

  async forget(workspace: string, exportId: string): Promise<void> {
    await this.#blobs.remove(blobKey(workspace, exportId));
    await this.#store.transaction((tx) => tx.db.deleteFrom('exports').where('workspace_id', '=', workspace).where('id', '=', exportId).execute());
  }
}

export function blobKey(workspace: string, exportId: string): string {
  return `exports/${workspace}/${exportId}`;
}

function toExport(row: ExportRow): Export {
  return { exportId: row.id, what: row.what as Export['what'], format: row.format as Export['format'], segment: row.segment_id, state: row.state as Export['state'], reason: row.reason, rows: row.rows, bytes: row.bytes, createdAt: row.created_at, expiresAt: row.expires_at };
}

function notFound(): Fault {
  return new Fault('not_found', 'There is no such export in this workspace, or it has expired.', { reason: 'export_not_found' });
}
