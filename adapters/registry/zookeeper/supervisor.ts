import { setTimeout as pause } from 'node:timers/promises';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import type { Session, SessionOptions } from './session.ts';

const RETRY_FIRST_MS = 100;
/** Also what a session must last for the next failure to be the first one again. */
export const RETRY_MOST_MS = 5_000;

export interface SupervisorOptions extends Omit<SessionOptions, 'server' | 'signal'> {
  readonly servers: readonly SessionOptions['server'][];
  readonly log: Log;
  readonly onOpen: (session: Session) => void;
  readonly onEnd: (reason: string) => void;
}

/** Has a session whenever there can be one: one after another, for ever, with backoff and jitter in between. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #stopping = new AbortController();
  #session: Session | undefined;
  #running: Promise<void> | undefined;
  #attempts: number;
  #awaySince: number | undefined = performance.now();
  #told = '';

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#attempts = Math.floor(Math.random() * options.servers.length);
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Closes the session, so that what is tied to it goes at once. */
  async stop(deadlineMs: number): Promise<void> {
    await this.#session?.close(deadlineMs);
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    for (let failures = 0; !signal.aborted; failures++) {
      const lastedMs = await this.#live(signal);
      if (lastedMs >= RETRY_MOST_MS) failures = 0;
      await pause(this.#restMs(failures), undefined, { signal, ref: false }).catch(() => {});
    }
  }

  /** One session, from dialling to its end. Answers how long it was open. */
  async #live(signal: AbortSignal): Promise<number> {
    const { servers, log, onOpen, onEnd, ...options } = this.#options;
    const server = servers[this.#attempts++ % servers.length]!;
    // With the library that it stands on: few installations have a use for it, and each start would wait for it.
    const { answerOf, Session: Opening } = await import('./session.ts');
    let session: Session;
    try {
      session = await Opening.open({ ...options, server, signal });
    } catch (thrown) {
      this.#tell(Fault.is(thrown) ? thrown.reason : 'internal');
      return 0;
    }
    const began = performance.now();
    this.#session = session;
    if (this.#awaySince !== undefined) log.info({ awayMs: Math.round(began - this.#awaySince), sessionTimeoutMs: session.timeoutMs }, 'there is a session with ZooKeeper');
    this.#awaySince = undefined;
    onOpen(session);
    const ending = await session.ended;
    this.#session = undefined;
    this.#awaySince = performance.now();
    onEnd(ending);
    this.#tell(`zookeeper_${ending}`, session.cause, answerOf(session.cause));
    return performance.now() - began;
  }

  /** Every server once before the rests grow; the half of a rest is chance, so that hosts do not come all at once. */
  #restMs(failures: number): number {
    const rounds = Math.floor(failures / this.#options.servers.length);
    return Math.min(RETRY_FIRST_MS * 2 ** rounds, RETRY_MOST_MS) * (0.5 + Math.random() / 2);
  }

  /** Once for each reason in a row: an outage is no reason to fill the log. */
  #tell(reason: string, cause?: unknown, answer?: string): void {
    if (this.#stopping.signal.aborted) return;
    const told = `${reason} ${answer ?? ''}`;
    if (told === this.#told) return;
    this.#told = told;
    const fields = { reason, ...(answer === undefined ? {} : { answer }), ...(cause === undefined || answer !== undefined ? {} : { err: cause }) };
    this.#options.log.warn(fields, 'there is no session with ZooKeeper; what was known of the hosts goes on, nobody leads');
  }
}
