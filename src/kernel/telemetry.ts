/**
 * Structured log. Fields carry ids, counts and codes, never secrets or personal data (addresses, names,
 * attributes, message bodies).
 */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}
export const Log = Symbol.for('multilith.Log');

export type Labels = Readonly<Record<string, string>>;

export interface Counter {
  add(amount?: number, labels?: Labels): void;
}
export interface Histogram {
  /** In the unit that the name ends with, e.g. `_seconds`. */
  observe(value: number, labels?: Labels): void;
}

/**
 * Metrics of a host, shown at /metrics in Prometheus' format. Names are snake case with the unit last.
 * Label values come from small closed sets (module, queue, outcome), never from data.
 * Asking twice for the same name gives the same instrument.
 */
export interface Metrics {
  counter(name: string, help: string, labels?: readonly string[]): Counter;
  histogram(name: string, help: string, labels?: readonly string[], buckets?: readonly number[]): Histogram;
  /** `read` is called at each scrape. */
  gauge(name: string, help: string, read: () => number | Promise<number>): void;
}
export const Metrics = Symbol.for('multilith.Metrics');
