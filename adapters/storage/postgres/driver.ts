import { resolve } from 'node:path';
import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { PostgresStorage } from './storage.ts';

/** A server that follows the primary by streaming, for lists and reports. Database, schema and TLS are as at the primary. */
export const ReplicaSettings = z.strictObject({
  host: z.string().min(1).max(253),
  port: z.int().min(1).max(65_535).default(5432),
  /** Left out: as at the primary, which is what a server that follows it knows. */
  user: z.string().min(1).max(63).optional(),
  password: z.string().min(1).optional(),
  /** Lists may be so old; a replica further behind is not read from. */
  maxLagMs: z.int().min(200).max(600_000).default(5_000),
  /** The most that a list may take there, and that the replica may say nothing; then the primary answers. */
  timeoutMs: z.int().min(50).max(60_000).default(1_000),
  /** How long a replica that did not answer is left alone before it is tried again. */
  restMs: z.int().min(50).max(600_000).default(1_000),
  /** Connections for lists. One more looks after it, and each long read has its own while it lasts. */
  readers: z.int().min(1).max(100).default(4),
});
export type ReplicaSettings = z.infer<typeof ReplicaSettings>;

const PostgresFields = z.strictObject({
  host: z.string().min(1).max(253).default('127.0.0.1'),
  port: z.int().min(1).max(65_535).default(5432),
  database: z.string().min(1).max(63).default('multilith'),
  user: z.string().min(1).max(63).default('multilith'),
  /** Left out where the server asks for none. */
  password: z.string().min(1).optional(),
  /** A file that holds the password, read at each connect; a relative one counts from the data directory. */
  passwordFile: z.string().min(1).optional(),
  /** The schema that holds the tables; made at start when it is not there. Left out: the name of the module. */
  schema: z.string().regex(/^[a-z][a-z0-9_-]{0,62}$/, 'must be lower case letters, digits, hyphens and underscores, 63 at most').optional(),
  /** Encrypts the connection and refuses a server whose certificate does not prove its name. Without it values cross in the clear. */
  tls: z.boolean().default(false),
  /** PEM of the authority that signed the server's certificate; left out: those that Node trusts. */
  ca: z.string().min(1).optional(),
  /**
   * What a resolved transaction has survived. `power-loss`: the server's log is on disk. `process-crash`: a power cut
   * at the server may take the last transactions.
   */
  durability: z.enum(['power-loss', 'process-crash']).default('power-loss'),
  /** Connections for reads. One more writes, and each long read has its own while it lasts. */
  readers: z.int().min(1).max(100).default(4),
  /** Long reads under way; one more waits for `connectTimeoutMs`, then it is refused with `exhausted`. */
  scans: z.int().min(1).max(100).default(4),
  /** The most that a connection may take to open, or a read waits for one that is free. */
  connectTimeoutMs: z.int().min(50).max(60_000).default(5_000),
  /** The most that a read outside a transaction may take, and that a server may take to answer. */
  answerTimeoutMs: z.int().min(50).max(600_000).default(30_000),
  /** Transactions, and reads, that may wait for their turn; one more is refused with `exhausted`. */
  maxWaiting: z.int().min(1).max(1_000_000).default(10_000),
  /** Statements that take longer are told to the log with their plans, never with their values. 0: none. */
  slowStatementMs: z.int().min(0).max(600_000).default(200),
  /** Left out: lists are read from the primary like everything else. */
  replica: ReplicaSettings.optional(),
});
/** With the same address for both, the primary would be refused as a replica at the first look. */
export const PostgresSettings = PostgresFields.refine(({ host, port, replica }) => replica === undefined || replica.host !== host || replica.port !== port, {
  path: ['replica'],
  message: 'must be another server than the primary, one that follows it',
});
export type PostgresSettings = z.infer<typeof PostgresSettings>;

/** One schema of a PostgreSQL database, which several processes may share. */
export const postgres: Driver<PostgresSettings, Storage, { readonly name: string }> = {
  name: 'postgres',
  settings: PostgresSettings,
  create: (settings, { name, clock, log, metrics, dataDir }) => new PostgresStorage({ settings: withAbsoluteFile(settings, dataDir), name, clock, log: log.child({ storage: name }), metrics }),
};

/** What finds its password wherever the process runs. */
export function withAbsoluteFile({ passwordFile, ...settings }: PostgresSettings, dataDir: string): PostgresSettings {
  return passwordFile === undefined ? settings : { ...settings, passwordFile: resolve(dataDir, passwordFile) };
}
