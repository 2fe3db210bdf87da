import { Fault } from '../kernel/fault.ts';
import { NOT_CONNECTED } from '../ports/transport.ts';
import type { Replica } from './replica.ts';
import type { Verdicts } from './verdicts.ts';

/** A process that may be chosen. */
export interface Candidate {
  readonly replica: Replica;
  readonly verdicts: Verdicts;
}

/** Which process of a host gets the next call. */
export class Choice {
  readonly #host: string;
  /** Where in the row the choice of the last call ended. */
  #chosen = -1;

  constructor(host: string) {
    this.#host = host;
  }

  /** The least busy of those that can be called, or why there is none: `unavailable`, `unsent`, with the reason `not_connected`, `resting` or `incompatible`. */
  from(row: readonly Candidate[], contract: string, excluded?: ReadonlySet<Replica>): Replica | Fault {
    let best: Replica | undefined;
    let bestWeight = Infinity;
    let bestAt = -1;
    // Of equals the next one each time, so that a row of calls one at a time is spread as well.
    for (let step = 1; step <= row.length; step++) {
      const at = (this.#chosen + step) % row.length;
      const { replica, verdicts } = row[at]!;
      if (!verdicts.allows(contract) || !replica.available(contract) || excluded?.has(replica)) continue;
      const weight = replica.weight(contract);
      if (weight >= bestWeight) continue;
      best = replica;
      bestWeight = weight;
      bestAt = at;
    }
    if (best === undefined) return this.#whyNone(row, contract);
    this.#chosen = bestAt;
    return best;
  }

  #whyNone(row: readonly Candidate[], contract: string): Fault {
    if (row.length === 0) return notCallable(`Host ${this.#host} cannot be reached: no process of it is known.`, NOT_CONNECTED);
    const open = row.filter(({ replica }) => replica.link.state === 'open');
    const refusals = open.flatMap(({ verdicts }) => verdicts.problemOf(contract) ?? []);
    if (refusals.length === row.length) return notCallable(refusals[0]!, 'incompatible');
    if (open.some(({ replica }) => replica.isResting(contract))) return notCallable(`Calls of ${contract} to host ${this.#host} have failed too often; it is tried again soon.`, 'resting');
    const problem = row.map(({ replica }) => replica.link.problem).find((why) => why !== undefined) ?? refusals[0];
    return notCallable(`Host ${this.#host} cannot be reached${problem === undefined ? '.' : `: ${problem}`}`, NOT_CONNECTED);
  }
}

/** That a process, or all of a host, cannot be called now. */
export function notCallable(message: string, reason: string): Fault {
  return new Fault('unavailable', message, { reason, origin: 'unsent', details: { retryAfterMs: 1_000 } });
}
