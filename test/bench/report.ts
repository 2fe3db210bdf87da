/** One figure of one run. */
export interface BenchRow {
  /** `<area>.<what>`. */
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the figure should reach; `better` says in which direction. Default: higher is better. */
  readonly aim?: number;
  readonly better?: 'higher' | 'lower';
  /** A peer's or the bare resource's figure, measured in the same run. */
  readonly limit?: number;
  readonly note?: string;
}
