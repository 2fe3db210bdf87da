import type { ClientConfig } from 'pg';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Conversation } from '../../../src/kernel/optional-server.ts';
import { Fifo } from '../shared/fifo.ts';
import type { Answer } from './burst.ts';
import { isAnswer } from './errors.ts';
import { lsnOf } from './log-samples.ts';
import type { Primary } from './primary-log.ts';
import { Readers } from './readers.ts';
import { Session } from './session.ts';
import type { Query } from './statements.ts';

export interface ReplicaConnections {
  readonly lists: ClientConfig;
  readonly scans: ClientConfig;
  readonly readers: number;
  readonly mostScans: number;
  /** Whom it must follow, as last known. */
  readonly primary: () => Primary;
}

/** How the replica stands, and what it answers with that. */
export interface Reply {
  /** Up to where it has done what the primary's log says. */
  readonly replayed: bigint;
  /** Whether what was read has the transaction that was asked for. */
  readonly hasSeen: boolean;
  /** Undefined when there was no query, or it was refused: its statement may be known to the primary only, or in the way of what is to be replayed. */
  readonly answer: Answer | undefined;
}

/**
 * In the burst with each query and before it, so that it speaks for the very connection that answers; the query sees no
 * less. A transaction from beyond the newest known is an error to pg_xact_status; of one that is long gone it says nothing.
 */
const STANDING = `
  SELECT pg_is_in_recovery()::int AS standby, pg_last_wal_replay_lsn()::text AS replayed,
    CASE WHEN $1::xid8 >= pg_snapshot_xmax(pg_current_snapshot()) THEN 0 WHEN pg_xact_status($1::xid8) = 'in progress' THEN 0 ELSE 1 END AS seen`;
/** On a standby that has turned to another server the timeline rises with its next checkpoint. */
export const IDENTITY = `
  SELECT system_identifier::text AS system, pg_is_in_recovery()::int AS standby, pg_last_wal_replay_lsn()::text AS lsn,
    greatest((SELECT timeline_id FROM pg_control_checkpoint()), (SELECT min_recovery_end_timeline FROM pg_control_recovery())) AS timeline
  FROM pg_control_system()`;

const PROMOTED = 'it follows no other server (any more), so that it may have rows of its own; let `replica` of the storage name a server that follows the primary, or take it out';
const FOREIGN = 'it follows another server than the primary, or is a copy of one; let `replica` of the storage name one that follows the primary, or take it out';

/** The connections to a server that follows the primary, from the first until one of them fails. */
export class ReplicaConversation implements Conversation {
  readonly greeted: Promise<unknown>;
  readonly scanners: Readers;
  readonly #options: ReplicaConnections;
  readonly #ended = new AbortController();
  readonly #sessions = new Set<Session>();
  readonly #idle: Session[] = [];
  readonly #waiting = new Fifo<() => void>();
  #free: number;

  constructor(options: ReplicaConnections) {
    this.#options = options;
    this.#free = options.readers;
    this.scanners = new Readers({ config: options.scans, connections: options.mostScans, maxWaiting: options.mostScans, usedOnce: true });
    this.greeted = this.look();
  }

  /** Aborts with what ends the long reads under way. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Rejects when it is (no more) what it should be, too. */
  async look(): Promise<Reply> {
    const reply = await this.ask({ name: 'identity', text: IDENTITY, values: [] }, null);
    const row = reply.answer?.rows[0];
    if (row === undefined) throw new Error('it does not say whom it follows; the role of the storage must be allowed pg_control_system, pg_control_checkpoint and pg_control_recovery');
    requireFollower(row, this.#options.primary());
    return reply;
  }

  /** `transaction`: the number of one that must be seen. Rejects when the server does not answer, or is not what it should be. */
  async ask(query: Query | undefined, transaction: string | null): Promise<Reply> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((go) => this.#waiting.push(go));
    try {
      const session = await this.#session();
      const [standing, answer] = await Promise.all([
        execute(session, { name: 'standing', text: STANDING, values: [transaction] }),
        query === undefined ? undefined : execute(session, query).catch(refused),
      ]);
      const reply = replyOf(standing, answer);
      // What a plan of it refused, the next one may not.
      if (query !== undefined && answer === undefined) this.#drop(session);
      else this.#idle.push(session);
      return reply;
    } finally {
      const next = this.#waiting.take();
      if (next === undefined) this.#free++;
      else next();
    }
  }

  close(): void {
    this.#ended.abort(new Fault('unavailable', 'The replica does not answer any more.', { reason: 'replica' }));
    for (const session of this.#sessions) session.destroy();
    void this.scanners.close(0).catch(() => {});
  }

  async #session(): Promise<Session> {
    for (let session = this.#idle.pop(); session !== undefined; session = this.#idle.pop()) {
      if (session.usable) return session;
      this.#drop(session);
    }
    const session = await Session.open(this.#options.lists);
    this.#sessions.add(session);
    if (this.#ended.signal.aborted) this.#drop(session);
    requireFollower((await session.control(IDENTITY))[0]!, this.#options.primary());
    return session;
  }

  #drop(session: Session): void {
    session.destroy();
    this.#sessions.delete(session);
  }
}

function execute(session: Session, query: Query): Promise<Answer> {
  return new Promise((done, failed) => session.send({ query, done, unreadable: failed, failed }));
}

/** The primary says why, or answers. */
function refused(error: unknown): undefined {
  if (!isAnswer(error)) throw error;
}

function replyOf({ rows: [row] }: Answer, answer: Answer | undefined): Reply {
  const { standby, replayed, seen } = row as { standby: 0 | 1; replayed: string; seen: 0 | 1 };
  if (standby === 0) throw new Error(PROMOTED);
  return { replayed: lsnOf(replayed), hasSeen: seen === 1, answer };
}

/** Throws what to do about a server that does not follow the primary. */
export function requireFollower({ system, standby, timeline }: Record<string, unknown>, primary: Primary): void {
  if (system !== primary.system || (timeline as number) > primary.timeline) throw new Error(FOREIGN);
  if (standby === 0) throw new Error(PROMOTED);
}
