import { inject, injectable } from 'inversify';
import type { z } from 'zod';
import type { Trace } from '../../../src/kernel/call.ts';
import { Clock } from '../../../src/kernel/clock.ts';
import type { Received } from '../../../src/kernel/message.ts';
import type { EffectHandler } from '../../../src/kernel/module.ts';
import { Blobs } from '../../../src/ports/blob.ts';
import { Store, type Transaction } from '../../../src/ports/storage.ts';
import { afterFault, AGAIN_MS } from '../files/file-work.ts';
import { BatchRun } from '../ingest/batch-run.ts';
import { IdentityHashes } from '../people/identity-hashes.ts';
import { LiveSegments } from '../segments/live-segments.ts';
import type { ImportRow, Tables } from '../tables.ts';
import { importKey, type importRequested, Imports } from './imports.ts';
import { type FileBatch, type FileRow, type ImportFormat, peopleOf } from './people-file.ts';
import type { FieldProblem } from './person-draft.ts';
import type { Place } from './text-rows.ts';

/** Of one import; what is refused beyond is counted. */
const MOST_REFUSALS_LISTED = 10_000;
/** In one statement; each has six values, and a statement takes some ten thousand. */
const REFUSALS_AT_ONCE = 200;
const BATCH_TIMEOUT_MS = 30_000;

/** The import was deleted, or another process reads on. */
class NotOurs extends Error {}

interface Judged {
  readonly line: number;
  readonly problems: readonly FieldProblem[];
}

/**
 * Reads an import's file, a batch of people in each transaction together with the place where the next one begins: cut
 * off, it goes on there, and no row has its effect twice.
 */
@injectable()
export class ImportHandler implements EffectHandler<z.infer<(typeof importRequested)['schema']>> {
  readonly #store: Store<Tables>;
  readonly #blobs: Blobs;
  readonly #clock: Clock;
  readonly #hashes: IdentityHashes;
  readonly #segments: LiveSegments;
  readonly #keepMs: number;

  constructor(
    @inject(Store) store: Store<Tables>,
    @inject(Blobs) blobs: Blobs,
    @inject(Clock) clock: Clock,
    @inject(IdentityHashes) hashes: IdentityHashes,
    @inject(LiveSegments) segments: LiveSegments,
    @inject(Imports) imports: Pick<Imports, 'keepMs'>,
  ) {
    this.#store = store;
    this.#blobs = blobs;
    this.#clock = clock;
    this.#hashes = hashes;
    this.#segments = segments;
    this.#keepMs = imports.keepMs;
  }

  async perform({ workspace, payload, trace, last }: Received<z.infer<(typeof importRequested)['schema']>>, signal: AbortSignal): Promise<{ readonly notBefore: number; readonly reason: string } | undefined> {
    const row = await this.#row(workspace!, payload.importId);
    if (row?.state === 'running') {
      try {
        await this.#read(row, trace, signal);
        await this.#settle(row, 'done', null);
      } catch (thrown) {
        if (thrown instanceof NotOurs) return this.#elsewhere(row);
        const since = (await this.#row(row.workspace_id, row.id))?.progressed_at ?? row.progressed_at;
        const outcome = afterFault(thrown, { signal, now: this.#clock.now(), since, last });
        if ('again' in outcome) return outcome.again;
        await this.#settle(row, 'failed', outcome.failed);
      }
    }
    // Also of one that was settled, or deleted, by a process that did not live to see to it.
    await this.#blobs.remove(importKey(workspace!, payload.importId));
    return undefined;
  }

  #row(workspace: string, importId: string): Promise<ImportRow | undefined> {
    return this.#store.db.selectFrom('imports').selectAll().where('workspace_id', '=', workspace).where('id', '=', importId).executeTakeFirst();
  }

  /** Whoever reads on may be a process that has lost the message, with nobody to go on should it end: this one looks again. */
  async #elsewhere({ workspace_id: workspace, id }: ImportRow): Promise<{ readonly notBefore: number; readonly reason: string } | undefined> {
    const row = await this.#row(workspace, id);
    return row?.state === 'running' ? { notBefore: this.#clock.now() + AGAIN_MS, reason: 'read_elsewhere' } : undefined;
  }

  async #read(row: ImportRow, trace: Trace, signal: AbortSignal): Promise<void> {
    let place: Place = { position: row.position, line: row.line };
    const chunks = this.#blobs.read(importKey(row.workspace_id, row.id), signal);
    for await (const batch of peopleOf(row.format as ImportFormat, chunks, place, row.created_at)) {
      signal.throwIfAborted();
      const from = place;
      await this.#store.transaction((tx) => this.#record(tx, row, from, batch, trace), { timeoutMs: BATCH_TIMEOUT_MS });
      place = batch.next;
    }
  }

  async #record(tx: Transaction<Tables>, row: ImportRow, from: Place, { rows, next }: FileBatch, trace: Trace): Promise<void> {
    const { workspace_id: workspace, id } = row;
    const now = this.#clock.now();
    const held = await tx.db.selectFrom('imports').select(['accepted', 'refused', 'started_at']).where('workspace_id', '=', workspace).where('id', '=', id).where('state', '=', 'running').where('position', '=', from.position).executeTakeFirst();
    if (held === undefined) throw new NotOurs();
    const run = new BatchRun(tx, { workspace, receivedAt: row.created_at, now, trace, hashes: this.#hashes, segments: this.#segments });
    const refused = await judge(run, rows);
    // Each of them is listed with one line at least.
    if (held.refused < MOST_REFUSALS_LISTED) await this.#list(tx, row, refused);
    await tx.db
      .updateTable('imports')
      .set({ position: next.position, line: next.line, accepted: held.accepted + rows.length - refused.length, refused: held.refused + refused.length, started_at: held.started_at ?? now, progressed_at: now })
      .where('workspace_id', '=', workspace)
      .where('id', '=', id)
      .execute();
  }

  async #list(tx: Transaction<Tables>, { workspace_id, id: import_id }: ImportRow, refused: readonly Judged[]): Promise<void> {
    if (refused.length === 0) return;
    const { listed } = await tx.db.selectFrom('import_refusals').select((eb) => eb.fn.countAll<number>().as('listed')).where('import_id', '=', import_id).where('workspace_id', '=', workspace_id).executeTakeFirstOrThrow();
    const rows = refused.flatMap(({ line, problems }) => problems.map(({ field, reason }, nth) => ({ import_id, line, nth, workspace_id, field, reason })));
    const room = rows.slice(0, Math.max(MOST_REFUSALS_LISTED - Number(listed), 0));
    for (let at = 0; at < room.length; at += REFUSALS_AT_ONCE) await tx.db.insertInto('import_refusals').values(room.slice(at, at + REFUSALS_AT_ONCE)).execute();
  }

  /** Once: a process that stood still does not undo what another has made of it. */
  async #settle({ workspace_id: workspace, id }: ImportRow, state: 'done' | 'failed', reason: string | null): Promise<void> {
    const now = this.#clock.now();
    await this.#store.transaction(async (tx) => void (await tx.db.updateTable('imports').set({ state, reason, finished_at: now, expires_at: now + this.#keepMs }).where('workspace_id', '=', workspace).where('id', '=', id).where('state', '=', 'running').execute()));
  }
}

/** Takes all people of a batch; answers the rows that were refused, and why. */
async function judge(run: BatchRun, rows: readonly FileRow[]): Promise<Judged[]> {
  const refused: Judged[] = [];
  await run.expect(rows.flatMap(({ person }) => person ?? []));
  for (const { line, person, denial, problems } of rows) {
    if (person === null) {
      refused.push({ line, problems });
      if (denial !== null) await run.take(denial);
      continue;
    }
    const before = run.problems.length;
    const outcome = await run.take(person);
    const found = run.problems.slice(before).map(({ reason, detail }) => ({ field: detail, reason }));
    if (outcome === 'erased') refused.push({ line, problems: [{ field: '', reason: 'erased' }] });
    else if (found.length > 0) refused.push({ line, problems: found });
  }
  await run.finish();
  return refused;
}
