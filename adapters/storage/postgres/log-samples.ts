/** How far the primary's log had come, and when: from that follows how old the state is, at most, that a replica shows. */
export class LogSamples {
  readonly #keptMs: number;
  #samples: { readonly lsn: bigint; readonly at: number }[] = [];

  /** What is older than `keptMs` is forgotten. */
  constructor(keptMs: number) {
    this.#keptMs = keptMs;
  }

  /** `at`: when the primary was asked; all that was committed by then lies before `lsn`. */
  add(lsn: bigint, at: number): void {
    this.#samples = [...this.#samples.filter((sample) => at - sample.at <= this.#keptMs), { lsn, at }];
  }

  /** In milliseconds; Infinity for what is older than all that is known. */
  ageOf(replayed: bigint, now: number): number {
    const reached = this.#samples.findLast(({ lsn }) => lsn <= replayed);
    return reached === undefined ? Infinity : now - reached.at;
  }
}

/** A place in the log as a number (https://www.postgresql.org/docs/15/datatype-pg-lsn.html). */
export function lsnOf(text: string): bigint {
  const [high, low] = text.split('/');
  return (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`);
}
