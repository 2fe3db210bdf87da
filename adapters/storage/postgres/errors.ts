import { Fault, type FaultOrigin } from '../../../src/kernel/fault.ts';

/** What pg throws for an error of the server: `code` is its SQLSTATE (https://www.postgresql.org/docs/15/errcodes-appendix.html). */
interface ServerError extends Error {
  readonly code: string;
  readonly severity: string;
  readonly table?: string;
  readonly column?: string;
  readonly constraint?: string;
  readonly detail?: string;
  readonly routine?: string;
}

const CONFLICTS: Readonly<Record<string, string>> = { '23505': 'unique', '23503': 'foreign_key', '23502': 'not_null', '23514': 'check', '23P01': 'check' };

const EXHAUSTED: Readonly<Record<string, readonly [reason: string, message: string, remedy: string]>> = {
  '53100': ['disk_full', 'The disk of the database server is full.', 'Free space on the disk of the database server.'],
  '53200': ['memory', 'The database server ran out of memory.', 'Give the database server more memory, or fewer connections.'],
  '53300': ['connections', 'The database server takes no more connections.', 'Raise max_connections of the server, or lower `readers` and `scans` of the storages that use it.'],
};

/** By SQLSTATE or its class: what the database is, and what to do. */
const UNAVAILABLE: Readonly<Record<string, readonly [what: string, remedy: string]>> = {
  '28': ['does not let this user in', 'Check `user` and `password` of the storage, and pg_hba.conf of the server.'],
  '3D000': ['is not there', 'Make it: createdb -O <user> <database>; or correct `database` of the storage.'],
  '42501': ['does not allow this to its user', 'Let the user of the storage own its schema: create schema <schema> authorization <user>.'],
  '25006': ['is read-only', 'Give the storage the primary server, not a standby.'],
  '55P03': ['is locked by another process', 'Look for a long transaction in pg_stat_activity and end it.'],
  '57P': ['is starting, stopping or was restarted', 'Wait for it, or look into the log of the server.'],
  '25P03': ['gave up a transaction that had stopped moving', 'This process, or the network, stood still; nothing was written.'],
  '40': ['rolled the transaction back', 'Something else than Multilith writes to this schema; leave it to Multilith alone.'],
  '58': ['could not read or write its files', 'Check the disk of the database server.'],
  XX: ['is damaged', 'Look into the log of the server; restore it from a backup.'],
};
/** The reason of the fault after which statements must be prepared anew. */
export const SCHEMA_CHANGED = 'schema_changed';
const UNREACHABLE = ['could not be reached', 'Check that the server runs, and `host` and `port` of the storage.'] as const;

function isServerError(error: unknown): error is ServerError {
  return error instanceof Error && 'severity' in error && 'code' in error && typeof error.code === 'string';
}

/** True when the server has answered, so that the connection is of further use. */
export function isAnswer(error: unknown): boolean {
  return Fault.is(error) || (isServerError(error) && error.severity !== 'FATAL' && error.severity !== 'PANIC');
}

/** Any error of pg as a Fault; faults pass as they are. */
export function postgresFault(error: unknown, origin: FaultOrigin = 'reply'): Fault {
  if (Fault.is(error)) return error;
  // pg's own words for a server that asks for a password where none is set.
  if (error instanceof Error && error.message.startsWith('SASL')) return unavailable(UNAVAILABLE['28']!, origin, error);
  if (!isServerError(error)) return unavailable(UNREACHABLE, origin, causeOf(error));
  const { code } = error;
  if (Object.hasOwn(CONFLICTS, code)) return conflict(error);
  const exhausted = EXHAUSTED[code];
  if (exhausted !== undefined) return new Fault('exhausted', exhausted[1], { reason: exhausted[0], details: { remedy: exhausted[2] }, origin, cause: causeOf(error) });
  if (isStalePlan(error)) return new Fault('unavailable', 'Another process has changed the tables meanwhile.', { reason: SCHEMA_CHANGED, origin, cause: causeOf(error) });
  if (code === '57014') return new Fault('deadline', 'The statement took too long and was ended.', { reason: 'statement_timeout', cause: causeOf(error) });
  if (code === '22021' || code === '22P05') return new Fault('invalid', 'Text holds a character that cannot be stored.', { reason: 'unstorable_text', cause: causeOf(error) });
  if (code.startsWith('54')) return new Fault('invalid', 'The value is larger than a row or an index can hold.', { reason: 'too_big', cause: causeOf(error) });
  const known = UNAVAILABLE[code] ?? UNAVAILABLE[code.slice(0, 3)] ?? UNAVAILABLE[code.slice(0, 2)] ?? (code.startsWith('08') ? UNREACHABLE : undefined);
  if (known !== undefined) return unavailable(known, origin, causeOf(error));
  // Neutral text: PostgreSQL's own quotes values.
  return new Fault('internal', 'The database refused a statement.', { reason: 'statement', cause: causeOf(error) });
}

export function passwordUnreadable(cause: unknown): Fault {
  const remedy = 'Give this user the right to read it, or correct `passwordFile` of the storage; "multilith servers" makes it when it starts the server.';
  return new Fault('unavailable', 'The file with the password for the database cannot be read.', { reason: 'storage', details: { remedy }, origin: 'unsent', cause });
}

function unavailable([what, remedy]: readonly [string, string], origin: FaultOrigin, cause: Error): Fault {
  return new Fault('unavailable', `The database ${what}.`, { reason: 'storage', details: { remedy }, origin, cause });
}

/** For logs: messages may quote values, but those of wrong SQL (class 42) only name things. */
function causeOf(error: unknown): Error {
  if (!isServerError(error)) return error instanceof Error ? error : new Error('The connection failed.');
  return new Error(`PostgreSQL ${error.code}${error.code.startsWith('42') ? `: ${error.message}` : ''}`);
}

function conflict(error: ServerError): Fault {
  const reason = CONFLICTS[error.code]!;
  const constraint = constraintOf(error);
  return new Fault('conflict', `The database refused a row: ${reason.replace('_', ' ')}.`, { reason, details: constraint === undefined ? {} : { constraint }, cause: causeOf(error) });
}

/**
 * `Key (workspace, email)=(…) already exists.` of people is `people.workspace,email`; an index over an expression and
 * a check are known by their names.
 */
function constraintOf({ code, table, column, constraint, detail }: ServerError): string | undefined {
  if (code === '23503') return undefined;
  if (code === '23502') return `${table}.${column}`;
  // In whatever language the server speaks.
  const columns = code === '23505' ? /\(([^()]+)\)=\(/.exec(detail ?? '')?.[1] : undefined;
  return columns === undefined ? constraint : `${table}.${columns.split(', ').map((name) => name.replace(/^"(.*)"$/, '$1')).join(',')}`;
}

/** True for the refusal of a write by a connection that only reads. */
export function isWriteOnReader(error: unknown): boolean {
  return isServerError(error) && error.code === '25006';
}

/** Another process has changed the tables since this statement was prepared. */
export function isStalePlan(error: unknown): boolean {
  return isServerError(error) && error.code === '0A000' && error.routine === 'RevalidateCachedQuery';
}
