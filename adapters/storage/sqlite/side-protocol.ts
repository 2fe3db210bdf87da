import type { SQLInputValue, SQLOutputValue } from 'node:sqlite';

/** What the main thread asks of the side thread. Each request is answered once, under its id. */
export type SideRequest = { readonly id: number } & (
  | { readonly kind: 'checkpoint'; readonly path: string; readonly mode: CheckpointMode }
  /** Holds one state of a database under `snapshot`, for scans over it. */
  | { readonly kind: 'snapshot'; readonly snapshot: number; readonly path: string; readonly cacheKb: number }
  | { readonly kind: 'release'; readonly snapshot: number }
  /** Reads under `cursor`, over a snapshot of its own or one that is held, and answers with the first batch. */
  | { readonly kind: 'scan'; readonly cursor: number; readonly snapshot?: number; readonly path: string; readonly sql: string; readonly values: readonly SQLInputValue[]; readonly batchRows: number; readonly cacheKb: number }
  | { readonly kind: 'next'; readonly cursor: number }
  | { readonly kind: 'end'; readonly cursor: number }
  /** Closes what is open on a database. */
  | { readonly kind: 'close'; readonly path: string }
);

/** PASSIVE waits for nobody: it copies what no reader still needs. TRUNCATE copies all and empties the log, or is `busy`. */
export type CheckpointMode = 'PASSIVE' | 'TRUNCATE';

/** In frames (pages): how many the write-ahead log holds, and how many of them the database has as well. */
export interface WalState {
  /** 1 when somebody was in the way. */
  readonly busy: number;
  readonly log: number;
  readonly checkpointed: number;
}

export interface Batch {
  /** Given with the first batch only. */
  readonly columns?: readonly string[];
  /** One array of values per row; rows as objects would carry their names with each. */
  readonly rows: readonly (readonly SQLOutputValue[])[];
  readonly done: boolean;
}

export interface SideReply {
  readonly id: number;
  readonly value?: WalState | Batch | undefined;
  /** An Error crosses with its message only; the codes go beside it. */
  readonly error?: { readonly name: string; readonly message: string; readonly code?: unknown; readonly errcode?: unknown };
}

/** The code of an error: this thread is younger than the cursor. */
export const SNAPSHOT_GONE = 'SNAPSHOT_GONE';
