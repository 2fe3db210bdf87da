export interface HttpSettings {
  /** Whether calls of one turn of the event loop share a request. */
  readonly batches: boolean;
  /** The head of a request must have come within this time of its connection, or of the answer before it. */
  readonly headersTimeoutMs: number;
  /** The whole of a request must have come within this time. */
  readonly requestTimeoutMs: number;
  /** A client that for so long takes nothing of an answer that waits for it is cut off. */
  readonly stalledMs: number;
  /** Of answers that their callers have not taken, all together; beyond it a call is answered `exhausted`/`answers_not_read`. */
  readonly mostOwedBytes: number;
}

/** What a topology gets. */
export const DEFAULTS: HttpSettings = { batches: true, headersTimeoutMs: 10_000, requestTimeoutMs: 60_000, stalledMs: 30_000, mostOwedBytes: 256 * 1024 * 1024 };
