import { join } from 'node:path';
import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { SqliteStorage } from './storage.ts';

export const SqliteSettings = z.strictObject({
  /**
   * What a resolved transaction has survived. `power-loss`: one fsync per group of transactions.
   * `process-crash`: no fsync at commit; a power cut may take the last transactions, never the
   * consistency of the file.
   */
  durability: z.enum(['power-loss', 'process-crash']).default('power-loss'),
  /** Page cache of each of the database's connections, KiB. */
  cacheKb: z.int().min(64).max(1_048_576).default(2_048),
  /** The write-ahead log is copied into the database, off the event loop, each time that it has grown by this, KiB. */
  checkpointKb: z.int().min(64).max(1_048_576).default(8_192),
  /** Transactions that may wait for their turn; one more is refused with `exhausted`. */
  maxWaiting: z.int().min(1).max(1_000_000).default(10_000),
  /** Statements that take longer are told to the log with their plans, never with their values. 0: none. */
  slowStatementMs: z.int().min(0).max(600_000).default(200),
});
export type SqliteSettings = z.infer<typeof SqliteSettings>;

/** One database in one file, `<dataDir>/<name>.sqlite`; `name` is that of the module that owns it. */
export const sqlite: Driver<SqliteSettings, Storage, { readonly name: string }> = {
  name: 'sqlite',
  settings: SqliteSettings,
  create(settings, { name, dataDir, clock, log, metrics }) {
    if (!/^[a-z][a-z0-9-]*$/.test(name)) throw new TypeError(`Storage name ${JSON.stringify(name)} must be lower case letters, digits and hyphens.`);
    return new SqliteStorage({ settings, name, path: join(dataDir, `${name}.sqlite`), clock, log: log.child({ storage: name }), metrics });
  },
};
