import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { type Lifecycle, StartStop } from '../../../src/kernel/lifecycle.ts';
import { OptionalServer } from '../../../src/kernel/optional-server.ts';
import { Rounds } from '../../../src/kernel/rounds.ts';
import type { Counter, Histogram, Log, Metrics } from '../../../src/kernel/telemetry.ts';
import { atMost } from '../shared/at-most.ts';
import type { SlowStatements } from '../shared/slow-statements.ts';
import type { Answer } from './burst.ts';
import type { ReplicaSettings } from './driver.ts';
import { LogSamples } from './log-samples.ts';
import { transactionAt } from './position.ts';
import { type Primary, PRIMARY, primaryOf } from './primary-log.ts';
import { type ReplicaConnections, ReplicaConversation, type Reply } from './replica-conversation.ts';
import type { Readers } from './readers.ts';
import type { Session } from './session.ts';
import type { Query } from './statements.ts';

/** How long a read waits for what its caller has just written to arrive: mostly it is there within a few milliseconds. */
const CATCH_UP_MS = 50;
const CATCH_UP_STEP_MS = 5;
/** Between two looks at both servers; more often where less lag is borne. */
const LOOK_MS = 1_000;
const LOOKS_PER_LAG = 4;
const MOST_PENDING = 1_000;
/** Long reads that were cut off are made at the primary for so long: what cut off one does so to the next. */
const SCANS_REST_MS = 600_000;

export interface ReplicaOptions {
  readonly settings: ReplicaSettings;
  /** Of the storage. */
  readonly name: string;
  readonly connections: Omit<ReplicaConnections, 'primary'>;
  /** As it is at the start. */
  readonly primary: Primary;
  /** Opens a connection of its own to the primary, which others may keep busy. */
  readonly connectPrimary: () => Promise<Session>;
  /** Told of lists that took long here. */
  readonly slow: SlowStatements;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * A server that follows the primary, read from while it is well. It is as old as the last state of the primary's log that it has
 * replayed, by this process's own clock: both are looked at again and again, and with each read the replica says on the same
 * connection how far it is. One that says nothing for `timeoutMs` is left alone for a while; one that is too far behind
 * is looked at only.
 */
export class Replica implements Lifecycle {
  readonly #options: ReplicaOptions;
  readonly #server: OptionalServer<ReplicaConversation>;
  readonly #samples: LogSamples;
  readonly #looks: Rounds;
  readonly #lag: Histogram;
  readonly #reads: Counter;
  readonly #life: StartStop;
  #primary: Primary;
  #session: Session | undefined;
  /** Or not known to be near enough. */
  #isBehind = true;
  #isToldOf = false;
  #watchedFrom = Infinity;
  #scansFrom = -Infinity;

  constructor(options: ReplicaOptions) {
    const { settings, connections, clock, log, metrics } = options;
    const { host, port, timeoutMs, restMs, maxLagMs } = settings;
    this.#options = options;
    this.#primary = options.primary;
    this.#samples = new LogSamples(maxLagMs);
    this.#server = new OptionalServer({ kind: 'postgres-replica', address: `${host}:${port}`, timeoutMs, restMs, mostPending: MOST_PENDING, isRefusal: () => false }, () => new ReplicaConversation({ ...connections, primary: () => this.#primary }), { clock, log, metrics });
    this.#lag = metrics.histogram('storage_replica_lag_seconds', 'How old at most, within a second, the state was that the read replica showed each time it was looked at.', ['storage']);
    this.#reads = metrics.counter('storage_list_reads_total', 'Reads for lists and reports, by who answered: the read replica or the primary.', ['storage', 'from']);
    this.#looks = new Rounds({ clock, everyMs: Math.min(LOOK_MS, maxLagMs / LOOKS_PER_LAG), round: () => this.#look(), failed: () => {} });
    this.#life = new StartStop(
      () => this.#start(),
      (deadlineMs) => this.#stop(deadlineMs),
    );
  }

  /** Resolves when it is known how the replica stands; that it is away is no failure. */
  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  /** For people; undefined when all is well. */
  get problem(): string | undefined {
    const { name, settings } = this.#options;
    if (!this.#server.reachable) return `${name}: the read replica of its storage does not answer, or is none of its server (the log says which); lists are read from the primary. Start it, or correct \`replica\` of the storage.`;
    if (this.#isTooOld) return `${name}: the read replica of its storage is more than ${settings.maxLagMs / 1_000} s behind; lists are read from the primary until it has caught up.`;
    return undefined;
  }

  /** What the replica answers; undefined when the primary is to be asked. Never rejects. */
  async query(query: Query, position: string | null | undefined): Promise<Answer | undefined> {
    const { name, slow } = this.#options;
    const began = performance.now();
    const answer = (await this.#ask(query, position))?.answer;
    this.#reads.add(1, { storage: name, from: answer === undefined ? 'primary' : 'replica' });
    const ms = performance.now() - began;
    if (answer !== undefined && ms >= slow.thresholdMs) slow.took([query.text], ms);
    return answer;
  }

  /** For a long read that begins now; undefined when it is to be made at the primary. */
  async scanners(position: string | null | undefined): Promise<{ readonly readers: Readers; readonly ended: AbortSignal } | undefined> {
    if (performance.now() < this.#scansFrom) return undefined;
    const fit = await this.#ask(undefined, position);
    return fit && this.#server.ask(async ({ scanners, ended }) => ({ readers: scanners, ended }));
  }

  /** A long read came to no good end here. Answers what its reader is told. */
  scanFailed(error: unknown): Fault {
    const told = new Fault('unavailable', 'A long read was cut off by the read replica; made again, it is made at the primary.', { reason: 'replica', cause: error });
    if (Fault.is(error) && error.code === 'exhausted') return told;
    this.#scansFrom = performance.now() + SCANS_REST_MS;
    this.#options.log.warn({ err: error, restMs: SCANS_REST_MS }, 'A long read was cut off by the read replica; for a while they are made at the primary. hot_standby_feedback or a longer max_standby_streaming_delay at the replica spares them.');
    return told;
  }

  async #ask(query: Query | undefined, position: string | null | undefined): Promise<Reply | undefined> {
    if (this.#isBehind) return undefined;
    const transaction = transactionAt(position, this.#primary.system);
    for (const until = performance.now() + CATCH_UP_MS; ; ) {
      const reply = await this.#server.ask((server) => server.ask(query, transaction));
      if (reply === undefined || this.#ageOf(reply) > this.#options.settings.maxLagMs) return undefined;
      if (reply.hasSeen) return reply;
      if (performance.now() >= until) return undefined;
      await pause(CATCH_UP_STEP_MS);
    }
  }

  /** For certain: in the beginning nobody knows. */
  get #isTooOld(): boolean {
    return this.#isBehind && performance.now() - this.#watchedFrom > this.#options.settings.maxLagMs;
  }

  /** An age that is not known is none that may be shown. */
  #ageOf({ replayed }: Reply): number {
    return this.#samples.ageOf(replayed, performance.now());
  }

  async #start(): Promise<void> {
    await this.#server.start();
    await this.#look().catch(() => {});
    await this.#looks.start();
  }

  async #stop(deadlineMs: number): Promise<void> {
    await this.#server.stop(deadlineMs);
    this.#session?.destroy();
    await atMost(deadlineMs, this.#looks.stop(deadlineMs));
  }

  async #look(): Promise<void> {
    const { name, settings } = this.#options;
    const session = await this.#connected();
    const at = performance.now();
    const [row] = await session.within(settings.timeoutMs, session.control(PRIMARY));
    this.#primary = primaryOf(row!);
    this.#watchedFrom = Math.min(this.#watchedFrom, at);
    this.#samples.add(this.#primary.lsn, at);
    const reply = await this.#server.ask((server) => server.look());
    if (reply === undefined) return;
    const ageMs = this.#ageOf(reply);
    this.#isBehind = ageMs > settings.maxLagMs;
    this.#lag.observe(Math.min(ageMs, settings.maxLagMs) / 1_000, { storage: name });
    this.#tell();
  }

  async #connected(): Promise<Session> {
    if (this.#session?.usable === true) return this.#session;
    this.#session = await this.#options.connectPrimary();
    if (this.#life.state === 'stopping' || this.#life.state === 'stopped') this.#session.destroy();
    return this.#session;
  }

  #tell(): void {
    if (this.#isToldOf === this.#isTooOld) return;
    this.#isToldOf = this.#isTooOld;
    const { log, settings } = this.#options;
    if (this.#isToldOf) log.warn({ maxLagMs: settings.maxLagMs }, 'The read replica is too far behind; lists are read from the primary.');
    else log.info({}, 'The read replica has caught up.');
  }
}
