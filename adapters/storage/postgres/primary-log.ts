import { lsnOf } from './log-samples.ts';

/** The server that is written to. */
export interface Primary {
  /** The number by which a server and all that follow it are known. */
  readonly system: string;
  /** Rises with each promotion among them. */
  readonly timeline: number;
  /** How far its log has come. */
  readonly lsn: bigint;
}

/**
 * What it says of itself. Flushed: what is not may reach a replica only with the next
 * commit. The name of a file of the log begins with the timeline.
 */
export const PRIMARY = `
  SELECT system_identifier::text AS system, pg_current_wal_flush_lsn()::text AS lsn, left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) AS timeline
  FROM pg_control_system()`;

export function primaryOf({ system, lsn, timeline }: Record<string, unknown>): Primary {
  return { system: system as string, timeline: Number.parseInt(timeline as string, 16), lsn: lsnOf(lsn as string) };
}
