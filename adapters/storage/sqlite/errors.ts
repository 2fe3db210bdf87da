import { Fault, type FaultOptions } from '../../../src/kernel/fault.ts';

/** What node:sqlite throws: `errcode` is SQLite's extended result code (https://sqlite.org/rescode.html). */
interface SqliteError extends Error {
  readonly code: 'ERR_SQLITE_ERROR';
  readonly errcode: number;
}

const PRIMARY = { PERM: 3, BUSY: 5, LOCKED: 6, NOMEM: 7, READONLY: 8, IOERR: 10, CORRUPT: 11, FULL: 13, CANTOPEN: 14, TOOBIG: 18, CONSTRAINT: 19, AUTH: 23, NOTADB: 26 } as const;
const CONSTRAINT = { CHECK: 275, FOREIGNKEY: 787, NOTNULL: 1299, PRIMARYKEY: 1555, UNIQUE: 2067, ROWID: 2579, DATATYPE: 3091 } as const;
const IOERR_NOMEM = 3082;

const CONFLICTS: Readonly<Record<number, string>> = {
  [CONSTRAINT.UNIQUE]: 'unique',
  [CONSTRAINT.PRIMARYKEY]: 'unique',
  [CONSTRAINT.ROWID]: 'unique',
  [CONSTRAINT.FOREIGNKEY]: 'foreign_key',
  [CONSTRAINT.NOTNULL]: 'not_null',
  [CONSTRAINT.CHECK]: 'check',
  [CONSTRAINT.DATATYPE]: 'check',
};

const REMEDIES: Readonly<Record<number, readonly [string, string]>> = {
  [PRIMARY.PERM]: ['may not be written', 'Give the user that runs this process write access to the data directory.'],
  [PRIMARY.BUSY]: ['is in use by another process', 'Stop the other process that uses this data directory, or give this one its own.'],
  [PRIMARY.LOCKED]: ['is in use by another process', 'Stop the other process that uses this data directory, or give this one its own.'],
  [PRIMARY.READONLY]: ['is read-only', 'Make the data directory writable: check its mount options, owner and mode.'],
  [PRIMARY.IOERR]: ['could not be read or written', 'Check the disk under the data directory (kernel log, SMART).'],
  [PRIMARY.CORRUPT]: ['is damaged', 'Stop the process and restore the data directory from a backup.'],
  [PRIMARY.CANTOPEN]: ['could not be opened', 'Check that the data directory exists and that this process may write to it.'],
  [PRIMARY.NOTADB]: ['is not a database', 'Something else lies in the place of the file: restore it from a backup, or choose another data directory.'],
};

export function isSqliteError(error: unknown): error is SqliteError {
  return error instanceof Error && 'code' in error && error.code === 'ERR_SQLITE_ERROR' && 'errcode' in error;
}

/** Any error of node:sqlite as a Fault; faults and the throws of others pass as they are. */
export function sqliteFault(error: unknown, origin: FaultOptions['origin'] = 'reply'): unknown {
  if (Fault.is(error)) return error;
  if (error instanceof RangeError && 'code' in error && error.code === 'ERR_OUT_OF_RANGE') {
    return new Fault('internal', 'The database holds a whole number beyond 2^53.', { reason: 'unsafe_integer', cause: error });
  }
  if (!isSqliteError(error)) return error;
  const primary = error.errcode & 0xff;
  if (primary === PRIMARY.CONSTRAINT) return conflict(error);
  // A full disk is met before the commit mark is written: the transaction surely is not there.
  if (primary === PRIMARY.FULL) return new Fault('exhausted', 'The disk is full.', { reason: 'disk_full', details: { remedy: 'Free space on the disk of the data directory.' }, cause: error });
  if (primary === PRIMARY.NOMEM || error.errcode === IOERR_NOMEM) return new Fault('exhausted', 'The database ran out of memory.', { reason: 'memory', origin, cause: error });
  if (primary === PRIMARY.TOOBIG) return new Fault('invalid', 'The value is larger than a row can hold.', { reason: 'too_big', cause: error });
  const remedy = REMEDIES[primary];
  // Neutral text: SQLite's own names tables and may quote the statement.
  if (remedy === undefined) return new Fault('internal', 'The database refused a statement.', { reason: 'statement', cause: error });
  return new Fault('unavailable', `The database ${remedy[0]}.`, { reason: 'storage', details: { remedy: remedy[1], sqlite: error.errcode }, origin, cause: error });
}

function conflict(error: SqliteError): Fault {
  const reason = CONFLICTS[error.errcode] ?? 'check';
  const constraint = constraintOf(error.message);
  return new Fault('conflict', `The database refused a row: ${reason.replace('_', ' ')}.`, { reason, details: constraint === undefined ? {} : { constraint }, cause: error });
}

/**
 * `UNIQUE constraint failed: people.workspace, people.email` is `people.workspace,email`; an index over an expression
 * and a check are known by their names.
 */
function constraintOf(message: string): string | undefined {
  const named = /constraint failed: (?:index ')?(.+?)'?$/s.exec(message)?.[1];
  if (named === undefined) return undefined;
  const [first, ...more] = named.split(', ');
  const table = /^(.+)\.[^.]+$/.exec(first!)?.[1];
  if (table === undefined || !more.every((column) => column.startsWith(`${table}.`))) return named;
  return [first, ...more.map((column) => column.slice(table.length + 1))].join(',');
}

/** True for the refusal of a write by a connection that only reads. */
export function isWriteOnReader(error: unknown): boolean {
  return isSqliteError(error) && error.errcode === PRIMARY.READONLY;
}

export function isBusy(error: unknown): boolean {
  return isSqliteError(error) && (error.errcode & 0xff) === PRIMARY.BUSY;
}
