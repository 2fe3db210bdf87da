import { createHash } from 'node:crypto';
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
import { csvLine } from '../files/csv-line.ts';
import { bodyTooLarge } from '../http/body.ts';
import type { ImportRow, Tables } from '../tables.ts';
import type { ImportFormat } from './people-file.ts';

/** Reads the file of an import. Portal's own. */
export const importRequested = job('portal.import', z.object({ importId: z.string() }), { lane: 'bulk' });

/** A workspace may have so many at once, those that are over and can still be looked at included. */
const MOST_KEPT = 50;
/** On their way in through this process; each may hold a piece of its file in memory. */
const MOST_ARRIVING = 8;
/** The same of one workspace: what is slow leaves room for others. */
const MOST_ARRIVING_OF_ONE = 3;
/** Not a `retryAfterMs`: nothing changes by itself soon. */
const REMEDY = 'Delete some that are over, or wait until they expire.';
const HOUR_MS = 3_600_000;
/** What has not arrived by then never will: longer than any request takes. */
const ARRIVING_MS = 2 * HOUR_MS;
/** A queue may be paused for long; a file that nobody reads is not kept for ever all the same. */
const RUNNING_MS = 30 * 24 * HOUR_MS;
const REFUSALS_AT_ONCE = 500;

export interface Import {
  readonly importId: string;
  readonly format: ImportFormat;
  /** `arriving` until the file is whole, `running` until it is read. */
  readonly state: 'arriving' | 'running' | 'done' | 'failed';
  readonly reason: string | null;
  readonly bytes: number | null;
  /** Of them, done with. */
  readonly bytesRead: number;
  /** `rowsAccepted` and `rowsRefused` together. */
  readonly rowsRead: number;
  readonly rowsAccepted: number;
  readonly rowsRefused: number;
  readonly createdAt: EpochMs;
  readonly createdBy: string;
  readonly startedAt: EpochMs | null;
  readonly finishedAt: EpochMs | null;
  readonly expiresAt: EpochMs;
}

/** A file that has come in whole and waits to be begun with. */
export interface Arrived {
  readonly importId: string;
  readonly bytes: number;
  /** SHA-256 of its content. */
  readonly digest: Uint8Array;
}

/** Files of people: taken in, read in the background, and gone when they are read; what became of them can be seen for a while. */
@injectable()
export class Imports {
  readonly #store: Store<Tables>;
  readonly #blobs: Blobs;
  readonly #clock: Clock;
  readonly #keepMs: number;
  readonly #maxBytes: number;
  /** By workspace. */
  readonly #arriving: string[] = [];

  constructor(@inject(Store) store: Store<Tables>, @inject(Blobs) blobs: Blobs, @inject(Clock) clock: Clock, @inject(Settings) settings: { readonly importHours: number; readonly importMaxBytes: number }) {
    this.#store = store;
    this.#blobs = blobs;
    this.#clock = clock;
    this.#keepMs = settings.importHours * HOUR_MS;
    this.#maxBytes = settings.importMaxBytes;
  }

  /**
   * Keeps a file as it comes, for `begin` or `discard`. `length` is what its sender says of it.
   * Faults: `invalid`/`body_too_large`, `exhausted`/`too_many_imports`, `exhausted`/`overloaded`, those of the blobs and
   * of the content; nothing is kept then.
   */
  async receive(format: ImportFormat, content: AsyncIterable<Uint8Array>, length: number | undefined, call: Call): Promise<Arrived> {
    if (length !== undefined && length > this.#maxBytes) throw bodyTooLarge(this.#maxBytes);
    const workspace = call.requireWorkspace();
    const own = this.#arriving.filter((one) => one === workspace).length;
    if (own === MOST_ARRIVING_OF_ONE || this.#arriving.length === MOST_ARRIVING) throw new Fault('exhausted', 'Too many files arrive at once. Send it again a little later.', { reason: 'overloaded', details: { retryAfterMs: 10_000 } });
    this.#arriving.push(workspace);
    try {
      return await this.#keep(format, content, call);
    } finally {
      this.#arriving.splice(this.#arriving.indexOf(workspace), 1);
    }
  }

  /** Has a file read that arrived. Fault `not_found`/`import_not_found` when it was deleted meanwhile. */
  async begin({ importId, bytes }: Arrived, call: Call): Promise<Import> {
    const workspace = call.requireWorkspace();
    const now = this.#clock.now();
    return this.#store.transaction(async (tx) => {
      const change = { state: 'running', bytes, progressed_at: now, expires_at: now + RUNNING_MS };
      const row = await tx.db.updateTable('imports').set(change).where('workspace_id', '=', workspace).where('id', '=', importId).where('state', '=', 'arriving').returningAll().executeTakeFirst();
      if (row === undefined) throw notFound();
      await tx.publish(importRequested, { importId }, { workspace, trace: call.trace });
      return toImport(row);
    });
  }

  /** Of a file that is not begun with. What is in the way is logged by nobody: it goes when its time is over. */
  async discard({ importId }: Pick<Arrived, 'importId'>, call: Call): Promise<void> {
    await this.forget(call.requireWorkspace(), importId).catch(() => {});
  }

  /** Newest first; there are never many. */
  async list(call: Call): Promise<Import[]> {
    const rows = await this.#store.db.selectFrom('imports').selectAll().where('workspace_id', '=', call.requireWorkspace()).orderBy('id', 'desc').limit(MOST_KEPT).execute();
    return rows.map(toImport);
  }

  /** Fault `not_found`/`import_not_found`. */
  async get(importId: string, call: Call): Promise<Import> {
    const row = await this.#store.db.selectFrom('imports').selectAll().where('workspace_id', '=', call.requireWorkspace()).where('id', '=', importId).executeTakeFirst();
    if (row === undefined) throw notFound();
    return toImport(row);
  }

  /** What was refused so far, as CSV with the line, the column and the reason; the first MOST_REFUSALS_LISTED. Fault `not_found`. */
  async refusals(importId: string, call: Call): Promise<AsyncIterable<Uint8Array>> {
    await this.get(importId, call);
    return this.#refusalTexts(importId, call.requireWorkspace());
  }

  /** One that runs stops at its next batch; whom it has taken stays. Answers how it stood. Fault `not_found`/`import_not_found`. */
  async remove(importId: string, call: Call): Promise<Import> {
    const found = await this.get(importId, call);
    await this.forget(call.requireWorkspace(), importId);
    return found;
  }

  /** Those whose time is over, the first `limit`. */
  async expired(limit: number): Promise<{ readonly workspace: string; readonly id: string }[]> {
    return this.#store.db.selectFrom('imports').select(['workspace_id as workspace', 'id']).where('expires_at', '<=', this.#clock.now()).orderBy('expires_at').limit(limit).execute();
  }

  /** The file first, so that none is left without a row. */
  async forget(workspace: string, importId: string): Promise<void> {
    await this.#blobs.remove(importKey(workspace, importId));
    await this.#store.transaction(async (tx) => {
      await tx.db.deleteFrom('imports').where('workspace_id', '=', workspace).where('id', '=', importId).execute();
      await tx.db.deleteFrom('import_refusals').where('workspace_id', '=', workspace).where('import_id', '=', importId).execute();
    });
  }

  /** How long one that is over stays. */
  get keepMs(): number {
    return this.#keepMs;
  }

  /** Of a file. */
  get maxBytes(): number {
    return this.#maxBytes;
  }

  async #keep(format: ImportFormat, content: AsyncIterable<Uint8Array>, call: Call): Promise<Arrived> {
    const workspace = call.requireWorkspace();
    const now = this.#clock.now();
    const row: ImportRow = {
      id: newId(), workspace_id: workspace, format, state: 'arriving', reason: null, bytes: null, position: 0, line: 1, accepted: 0, refused: 0,
      created_at: now, created_by: call.actor.id, started_at: null, progressed_at: now, finished_at: null, expires_at: now + ARRIVING_MS,
    };
    await this.#store.transaction(async (tx) => {
      const kept = await tx.db.selectFrom('imports').select('id').where('workspace_id', '=', workspace).limit(MOST_KEPT).execute();
      if (kept.length === MOST_KEPT) throw new Fault('exhausted', `A workspace may have ${MOST_KEPT} imports. ${REMEDY}`, { reason: 'too_many_imports', details: { remedy: REMEDY } });
      await tx.db.insertInto('imports').values(row).execute();
    });
    const hash = createHash('sha256');
    try {
      const bytes = await this.#blobs.write(importKey(workspace, row.id), measured(content, this.#maxBytes, (chunk) => hash.update(chunk)), call.signal);
      return { importId: row.id, bytes, digest: hash.digest() };
    } catch (thrown) {
      await this.discard({ importId: row.id }, call);
      throw thrown;
    }
  }

  async *#refusalTexts(importId: string, workspace: string): AsyncGenerator<Uint8Array, void, void> {
    yield Buffer.from(csvLine(['line', 'column', 'reason']));
    for (let last = { line: 0, nth: 0 }; ; ) {
      const rows = await this.#store.db
        .selectFrom('import_refusals')
        .select(['line', 'nth', 'field', 'reason'])
        .where('import_id', '=', importId)
        .where('workspace_id', '=', workspace)
        .where((eb) => eb(eb.refTuple('line', 'nth'), '>', eb.tuple(last.line, last.nth)))
        .orderBy('line')
        .orderBy('nth')
        .limit(REFUSALS_AT_ONCE)
        .execute();
      yield Buffer.from(rows.map(({ line, field, reason }) => csvLine([line, field, reason])).join(''));
      if (rows.length < REFUSALS_AT_ONCE) return;
      last = rows.at(-1)!;
    }
  }
}

export function importKey(workspace: string, importId: string): string {
  return `imports/${workspace}/${importId}`;
}

async function* measured(content: AsyncIterable<Uint8Array>, maxBytes: number, look: (chunk: Uint8Array) => void): AsyncGenerator<Uint8Array, void, void> {
  let bytes = 0;
  for await (const chunk of content) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw bodyTooLarge(maxBytes);
    look(chunk);
    yield chunk;
  }
}

function toImport(row: ImportRow): Import {
  return {
    importId: row.id,
    format: row.format as ImportFormat,
    state: row.state as Import['state'],
    reason: row.reason,
    bytes: row.bytes,
    bytesRead: row.position,
    rowsRead: row.accepted + row.refused,
    rowsAccepted: row.accepted,
    rowsRefused: row.refused,
    createdAt: row.created_at,
    createdBy: row.created_by,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
    expiresAt: row.expires_at,
  };
}

function notFound(): Fault {
  return new Fault('not_found', 'There is no such import in this workspace, or it has expired.', { reason: 'import_not_found' });
}
