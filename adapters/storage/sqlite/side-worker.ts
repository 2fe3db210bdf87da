import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { parentPort } from 'node:worker_threads';
import { BATCH_BYTES, bytesOf } from '../shared/limits.ts';
import { type Batch, type SideReply, type SideRequest, SNAPSHOT_GONE, type WalState } from './side-protocol.ts';

/*
 * The side thread: copies write-ahead logs into their databases and reads what takes long, so that neither holds up
 * the event loop. It serves every database of the process, one request at a time.
 */

interface Held {
  readonly path: string;
  readonly database: DatabaseSync;
}

interface Cursor extends Held {
  /** Of a snapshot that outlives it; else the database is its own. */
  readonly snapshot: number | undefined;
  readonly rows: Iterator<readonly SQLOutputValue[]>;
  readonly batchRows: number;
}

const checkpointers = new Map<string, DatabaseSync>();
const cursors = new Map<number, Cursor>();
const snapshots = new Map<number, Held>();

function answer(request: SideRequest): WalState | Batch | undefined {
  switch (request.kind) {
    case 'checkpoint':
      return checkpoint(request);
    case 'snapshot':
      return hold(request);
    case 'release':
      return release(request.snapshot);
    case 'scan':
      return open(request);
    case 'next':
      return advance(request.cursor);
    case 'end':
      return end(request.cursor);
    case 'close':
      return close(request.path);
  }
}

function checkpoint({ path, mode }: Extract<SideRequest, { kind: 'checkpoint' }>): WalState {
  let database = checkpointers.get(path);
  if (database === undefined) {
    database = new DatabaseSync(path, { timeout: 0 });
    database.exec('PRAGMA cache_size = -64');
    checkpointers.set(path, database);
  }
  const { busy, log, checkpointed } = database.prepare(`PRAGMA wal_checkpoint(${mode})`).get() as unknown as WalState;
  return { busy, log, checkpointed };
}

function begin(path: string, cacheKb: number): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 0 });
  database.exec(`PRAGMA cache_size = -${cacheKb}; PRAGMA query_only = ON; BEGIN`);
  return database;
}

function hold({ snapshot, path, cacheKb }: Extract<SideRequest, { kind: 'snapshot' }>): undefined {
  const database = begin(path, cacheKb);
  // BEGIN alone holds nothing: the first read does.
  database.prepare('SELECT count(*) FROM sqlite_schema').get();
  snapshots.set(snapshot, { path, database });
}

function release(snapshot: number): undefined {
  for (const [id, cursor] of cursors) if (cursor.snapshot === snapshot) end(id);
  snapshots.get(snapshot)?.database.close();
  snapshots.delete(snapshot);
}

function held(snapshot: number): DatabaseSync {
  const found = snapshots.get(snapshot);
  if (found === undefined) throw gone();
  return found.database;
}

function gone(): Error {
  return Object.assign(new Error('The snapshot is gone.'), { code: SNAPSHOT_GONE });
}

function open({ cursor, snapshot, path, sql, values, batchRows, cacheKb }: Extract<SideRequest, { kind: 'scan' }>): Batch {
  const database = snapshot === undefined ? begin(path, cacheKb) : held(snapshot);
  try {
    const statement = database.prepare(sql);
    statement.setReturnArrays(true);
    const rows = statement.iterate(...values) as unknown as Iterator<readonly SQLOutputValue[]>;
    cursors.set(cursor, { path, database, snapshot, rows, batchRows });
    return { columns: statement.columns().map((column) => column.name), ...advance(cursor) };
  } catch (error) {
    cursors.delete(cursor);
    if (snapshot === undefined && database.isOpen) database.close();
    throw error;
  }
}

function advance(id: number): Batch {
  const cursor = cursors.get(id);
  if (cursor === undefined) throw gone();
  const rows: (readonly SQLOutputValue[])[] = [];
  try {
    for (let bytes = 0; rows.length < cursor.batchRows && bytes < BATCH_BYTES; ) {
      const next = cursor.rows.next();
      if (next.done === true) {
        end(id);
        return { rows, done: true };
      }
      rows.push(next.value);
      bytes += bytesOf(next.value);
    }
    return { rows, done: false };
  } catch (error) {
    end(id);
    throw error;
  }
}

function end(id: number): undefined {
  const cursor = cursors.get(id);
  cursors.delete(id);
  if (cursor?.snapshot === undefined) cursor?.database.close();
  else cursor.rows.return?.();
}

function close(path: string): undefined {
  for (const [id, cursor] of cursors) if (cursor.path === path) end(id);
  for (const [id, one] of snapshots) if (one.path === path) release(id);
  checkpointers.get(path)?.close();
  checkpointers.delete(path);
}

parentPort!.on('message', (request: SideRequest) => {
  let reply: SideReply;
  try {
    reply = { id: request.id, value: answer(request) };
  } catch (error) {
    const { name, message, code, errcode } = error as Error & { code?: unknown; errcode?: unknown };
    reply = { id: request.id, error: { name, message, code, errcode } };
  }
  parentPort!.postMessage(reply);
});
