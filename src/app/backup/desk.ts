import { z } from 'zod';
import type { Call } from '../../kernel/call.ts';
import { command, contract, query } from '../../kernel/contract.ts';

/** Nobody who writes is held up for longer. */
export const HOLD_MS = 1_000;
/** A backup that lets so much time pass without a word is over. */
export const SILENT_MS = 30_000;
/** It has so long to get an answer to anything that is quickly done. */
const SOON_MS = 5_000;

const Nothing = z.object({});
export type Nothing = z.infer<typeof Nothing>;
const OfBackup = z.object({ backup: z.string() });
export type OfBackup = z.infer<typeof OfBackup>;

const Hold = z.object({ backup: z.string(), /** That whoever asks has the installation's secret. */ proof: z.string(), databases: z.array(z.string()), mostMs: z.int().min(1).max(HOLD_MS) });
export type HoldRequest = z.infer<typeof Hold>;

const OpenDatabases = z.object({
  /** Why there can be no backup just now, for people. */
  problem: z.string().nullable(),
  databases: z.array(z.object({ name: z.string(), /** Other processes may have the same one open. */ shared: z.boolean() })),
});
export type OpenDatabases = z.infer<typeof OpenDatabases>;

const Released = z.object({ /** They stood still until now. */ held: z.boolean(), /** For how long somebody could not write. */ heldMs: z.int() });
export type Released = z.infer<typeof Released>;

const Shown = z.object({
  name: z.string(),
  /** Those that it has been through, in their order. */
  migrations: z.array(z.string()),
  tables: z.array(z.object({ name: z.string(), columns: z.array(z.string()), numbered: z.string().nullable(), key: z.array(z.string()) })),
});
/** A database as it is at the moment of the backup. */
export type Shown = z.infer<typeof Shown>;

const Read = z.object({ backup: z.string(), database: z.string(), table: z.string() });
export type ReadRequest = z.infer<typeof Read>;
const Piece = z.object({ text: z.string(), more: z.boolean() });
export type Piece = z.infer<typeof Piece>;

/**
 * What a process lets a backup do with the databases that it has open, in this order: hold them, open what is to be
 * seen of them, let go, show, read, close. One backup at a time; one that falls silent is closed. Faults:
 * `conflict`/`backup_under_way`, `not_found`/`backup_over` (closed, or never begun), those of the storage.
 */
export interface BackupDesk {
  databases(request: Nothing, call: Call): Promise<OpenDatabases>;
  /**
   * Whoever has begun a backup goes on with it by its id, which nobody guesses. Resolves when nothing is being written in any of them. After
   * `mostMs` they all go on by themselves. Faults: `denied` without the proof.
   */
  hold(request: HoldRequest, call: Call): Promise<Nothing>;
  /** Fixes what is committed now. Faults: `deadline`/`hold_over` when they have gone on meanwhile. */
  open(request: OfBackup, call: Call): Promise<Nothing>;
  release(request: OfBackup, call: Call): Promise<Released>;
  show(request: OfBackup, call: Call): Promise<{ databases: Shown[] }>;
  /** The next part of a table as lines, cut anywhere. One table at a time; another one begins at its beginning. */
  read(request: ReadRequest, call: Call): Promise<Piece>;
  /** Says that the backup goes on, while it reads elsewhere. */
  keep(request: OfBackup, call: Call): Promise<Nothing>;
  /** Lets go of everything. Twice does nothing. */
  close(request: OfBackup, call: Call): Promise<Nothing>;
}

export const backupDesk = contract<BackupDesk>('backup', {
  databases: query({ input: Nothing, output: OpenDatabases, timeoutMs: SOON_MS }),
  hold: command({ input: Hold, output: Nothing, timeoutMs: 2 * HOLD_MS, faults: ['backup_under_way'] }),
  open: command({ input: OfBackup, output: Nothing, timeoutMs: 2 * HOLD_MS, faults: ['backup_over'] }),
  release: command({ input: OfBackup, output: Released, timeoutMs: SOON_MS, faults: ['backup_over'] }),
  show: command({ input: OfBackup, output: z.object({ databases: z.array(Shown) }), timeoutMs: SILENT_MS, faults: ['backup_over'] }),
  read: command({ input: Read, output: Piece, timeoutMs: SILENT_MS, faults: ['backup_over'] }),
  keep: command({ input: OfBackup, output: Nothing, timeoutMs: SOON_MS, faults: ['backup_over'] }),
  close: command({ input: OfBackup, output: Nothing, timeoutMs: SOON_MS }),
});
