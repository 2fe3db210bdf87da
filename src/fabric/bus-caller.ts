import { Call } from '../kernel/call.ts';
import type { Clock } from '../kernel/clock.ts';
import { Fault, toFault } from '../kernel/fault.ts';
import { newId } from '../kernel/ids.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { BusAccess } from './bus-contract.ts';

const FIRST_PAUSE_MS = 50;
const MOST_PAUSE_MS = 2_000;
const ACTOR = { kind: 'system', id: 'bus' } as const;

/** Asks the host that keeps the messages: once, or until it answers. Says once that it is away, and once that it is back. */
export class BusCaller {
  readonly stub: BusAccess;
  readonly clock: Clock;
  readonly #log: Log;
  #awaySince: number | undefined;

  constructor(stub: BusAccess, clock: Clock, log: Log) {
    this.stub = stub;
    this.clock = clock;
    this.#log = log;
  }

  /** A call that may be repeated after its answer was lost: what it asks for has no second effect. */
  repeatable(ms: number, signal?: AbortSignal): Call {
    return new Call({ workspace: null, actor: ACTOR, deadline: this.clock.now() + ms, idempotencyKey: newId(), ...(signal === undefined ? {} : { signal }) });
  }

  once(ms: number, signal?: AbortSignal): Call {
    return new Call({ workspace: null, actor: ACTOR, deadline: this.clock.now() + ms, ...(signal === undefined ? {} : { signal }) });
  }

  /** Again with growing pauses while the host is away, until it answers (a refusal is an answer) or `stopped` aborts. */
  async persist<T>(work: () => Promise<T>, stopped: AbortSignal): Promise<T> {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MOST_PAUSE_MS)) {
      if (stopped.aborted) throw notRunning();
      try {
        const value = await work();
        this.reached();
        return value;
      } catch (thrown) {
        if (stopped.aborted) throw notRunning();
        const fault = toFault(thrown);
        if (!isAway(fault)) throw thrown;
        this.away(fault);
        await this.pause(pauseMs * (0.5 + Math.random() / 2), stopped);
      }
    }
  }

  away(fault: Fault): void {
    if (this.#awaySince !== undefined) return;
    this.#awaySince = this.clock.now();
    this.#log.warn({ code: fault.code, reason: fault.reason, problem: fault.message }, 'the host that keeps the messages cannot be reached; asked again until it can');
  }

  reached(): void {
    if (this.#awaySince === undefined) return;
    this.#log.info({ awayMs: this.clock.now() - this.#awaySince }, 'the host that keeps the messages is back');
    this.#awaySince = undefined;
  }

  /** Ends early when `stopped` aborts. */
  pause(ms: number, stopped: AbortSignal): Promise<void> {
    if (stopped.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        stopped.removeEventListener('abort', end);
        resolve();
      };
      const timer = this.clock.after(ms, end);
      stopped.addEventListener('abort', end, { once: true });
    });
  }
}

export function notRunning(): Fault {
  return new Fault('unavailable', 'The bus is not running.', { reason: 'stopped', origin: 'unsent' });
}

/** Nothing is wrong with the request: somebody will be there to answer it, later. */
export function isAway({ code }: Fault): boolean {
  return code === 'unavailable' || code === 'deadline' || code === 'exhausted' || code === 'internal';
}

export function isSessionLost(thrown: unknown): boolean {
  return Fault.is(thrown) && thrown.reason === 'session_lost';
}
