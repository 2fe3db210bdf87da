import { type Fault, toFault } from '../../../src/kernel/fault.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';

/** Why a bus cannot work with its broker, and since when. */
export class BrokerTrouble {
  readonly #log: Log;
  #now: { readonly since: number; readonly fault: Fault } | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** For people, without addresses; undefined while there is none. */
  get words(): string | undefined {
    return this.#now === undefined ? undefined : wordsFor(this.#now.fault, Math.round((performance.now() - this.#now.since) / 1_000));
  }

  /** Said once, until it is over, and again when it is something else. */
  met(thrown: unknown): void {
    const fault = toFault(thrown);
    const { since = performance.now(), fault: before } = this.#now ?? {};
    this.#now = { since, fault };
    if (before?.reason === fault.reason) return;
    const { remedy } = fault.details;
    this.#log.error({ err: thrown, reason: fault.reason, ...(remedy !== undefined && { remedy }) }, 'the bus cannot work with its broker; it goes on trying');
  }

  over(): void {
    if (this.#now === undefined) return;
    this.#log.info({ awayMs: Math.round(performance.now() - this.#now.since) }, 'the bus has its broker back');
    this.#now = undefined;
  }
}

function wordsFor({ code, reason, message, details: { remedy } }: Fault, forS: number): string {
  const kept = 'what is published waits where it was.';
  if (code === 'exhausted') return `${message} It has taken nothing for ${forS} s; ${kept} ${String(remedy)}`;
  if (reason === 'broker_refused') return `The bus has had no broker for ${forS} s; ${kept} ${message}`;
  return `The broker of the bus has been away for ${forS} s; ${kept}${remedy === undefined ? '' : ` ${String(remedy)}`}`;
}
