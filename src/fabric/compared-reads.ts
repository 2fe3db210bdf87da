import type { Kysely, KyselyPlugin, QueryId, RootOperationNode } from 'kysely';
import { toFault } from '../kernel/fault.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Reader, Statement, Storage, StoredRow, TableShape } from '../ports/storage.ts';
import { orNothing } from './catch-up.ts';
import { type ReadRows, type ReadTraits, readDifference, traitsOf } from './read-difference.ts';

/** The storage that follows may take so long for a read; then the other one has answered. */
const LONGEST_MS = 1_000;
/** After a failure it is left alone for so long. */
const REST_MS = 2_000;
/** Reads that differ are made again together, and so far apart: writers are held back for it. */
const AGAIN_MS = 1_000;
/** Reads that wait for that; more are not looked at again. */
const MOST_AGAIN = 20;
/** Of the last reads, whose times say how fast a side is. */
const TIMES_KEPT = 1_000;

/** Whose reads: of these workspaces, by id, or all. */
export type ReadsOf = readonly string[] | 'all';

/** What came of reads that both sides were asked for. */
export interface ReadFigures {
  readonly of: ReadsOf;
  /** Both answered the same; the new side's answer was taken. */
  readonly same: number;
  /** The new side was not yet where the old one was; at a standstill both answered the same. */
  readonly behind: number;
  /** Not the same at a standstill either. */
  readonly differed: number;
  /** Not the same at first, and still to be made again at a standstill. */
  readonly waiting: number;
  /** Not the same at first and not looked at again, since too many were. */
  readonly unchecked: number;
  /** The new side answered with a fault, or not in time. */
  readonly failed: number;
  /** Of the last thousand; null before the first. */
  readonly oldMedianMs: number | null;
  readonly newMedianMs: number | null;
}

/** A read that can be made on either side. */
interface TwoSided {
  readonly traits: ReadTraits;
  ask(side: Storage): Promise<ReadRows>;
}

export interface ComparedReadsOptions {
  /** The one that counts, and the one that follows it. */
  readonly from: Storage;
  readonly to: Storage;
  /** As far as they are known. */
  tables(): readonly TableShape[];
  readonly log: Log;
}

/**
 * Reads outside transactions, made on both sides. What the new side answers is taken where it is the same, so that nobody
 * reads an older state than he has written; otherwise the old side has answered, and the read is made again on both when
 * neither changes. A read concerns a workspace when one of its parameters is the workspace's id.
 */
export class ComparedReads implements Reader<any> {
  readonly db: Kysely<any>;
  of: ReadsOf = [];
  readonly #options: ComparedReadsOptions;
  readonly #asked = new WeakMap<QueryId, { readonly node: RootOperationNode; readonly began: number }>();
  readonly #traits = new WeakMap<Statement<any, any>, ReadTraits>();
  readonly #oldTimes = new Times();
  readonly #newTimes = new Times();
  readonly #again: TwoSided[] = [];
  #againAt = 0;
  #restsUntil = 0;
  #same = 0;
  #behind = 0;
  #differed = 0;
  #unchecked = 0;
  #failed = 0;

  constructor(options: ComparedReadsOptions) {
    this.#options = options;
    const plugin: KyselyPlugin = {
      transformQuery: ({ node, queryId }) => {
        this.#asked.set(queryId, { node, began: performance.now() });
        return node;
      },
      transformResult: async ({ result, queryId }) => {
        const rows = await this.#ofQuery(queryId, result.rows as ReadRows);
        return { ...result, rows };
      },
    };
    this.db = options.from.db.withPlugin(plugin);
  }

  /** At least one at a standstill. */
  get haveDiffered(): boolean {
    return this.#differed > 0;
  }

  get figures(): ReadFigures {
    return { of: this.of, same: this.#same, behind: this.#behind, waiting: this.#again.length, differed: this.#differed, unchecked: this.#unchecked, failed: this.#failed, oldMedianMs: this.#oldTimes.median, newMedianMs: this.#newTimes.median };
  }

  async run<Params, Row>(statement: Statement<Params, Row>, params: Params): Promise<Row[]> {
    const { from } = this.#options;
    const began = performance.now();
    const rows = await from.run(statement, params);
    if (!this.#concerns(Object.values(params as object))) return rows;
    const traits = this.#traits.get(statement) ?? traitsOf(statement.build(from.db).compile().sql);
    this.#traits.set(statement, traits);
    const ask = (side: Storage) => side.run(statement, params) as Promise<ReadRows>;
    return (await this.#beside({ traits, ask }, rows as ReadRows, began)) as Row[];
  }

  /**
   * Makes the reads again that differed, when it is time, or all that wait for it. `standstill` runs what it is given while
   * both sides are the same and do not change.
   */
  async lookAgain(standstill: <T>(look: () => Promise<T>) => Promise<T>, when: 'in time' | 'now'): Promise<void> {
    if (this.#again.length === 0 || (when === 'in time' && performance.now() < this.#againAt)) return;
    this.#againAt = performance.now() + AGAIN_MS;
    const { from, to } = this.#options;
    const reads = [...this.#again];
    try {
      const answers = await standstill(() => Promise.all(reads.map((read) => Promise.all([read.ask(from), read.ask(to)]))));
      answers.forEach(([old, answer], i) => this.#judge(reads[i]!, old, answer));
    } catch (thrown) {
      this.#unchecked += reads.length;
      this.#options.log.warn({ reason: toFault(thrown).reason, err: thrown }, 'reads that differed could not be made again');
    } finally {
      this.#again.splice(0, reads.length);
    }
  }

  #judge({ traits }: TwoSided, old: ReadRows, answer: ReadRows): void {
    const difference = readDifference(old, answer, traits, this.#options.tables());
    if (difference === undefined) this.#behind++;
    else {
      this.#differed++;
      this.#options.log.error({ ...difference }, 'a read differs in the new storage; the old one has answered');
    }
  }

  async #ofQuery(queryId: QueryId, rows: ReadRows): Promise<ReadRows> {
    const { to } = this.#options;
    const asked = this.#asked.get(queryId);
    if (asked === undefined) return rows;
    const { node, began } = asked;
    const { sql, parameters } = to.db.getExecutor().compileQuery(node, queryId);
    if (!this.#concerns(parameters)) return rows;
    const ask = async ({ db }: Storage) => {
      const executor = db.getExecutor();
      return (await executor.executeQuery<StoredRow>(executor.compileQuery(node, queryId))).rows;
    };
    return this.#beside({ traits: traitsOf(sql), ask }, rows, began);
  }

  #concerns(parameters: readonly unknown[]): boolean {
    const { of } = this;
    return of === 'all' || parameters.some((value) => typeof value === 'string' && of.includes(value));
  }

  /** `rows`: the old side's answer. */
  async #beside(read: TwoSided, rows: ReadRows, began: number): Promise<ReadRows> {
    const between = performance.now();
    if (between < this.#restsUntil) return rows;
    const answer = await this.#newAnswer(read);
    if (answer === undefined) return rows;
    this.#oldTimes.add(between - began);
    this.#newTimes.add(performance.now() - between);
    if (readDifference(rows, answer, read.traits, []) === undefined) {
      this.#same++;
      return answer;
    }
    if (this.#again.length < MOST_AGAIN) this.#again.push(read);
    else this.#unchecked++;
    return rows;
  }

  async #newAnswer(read: TwoSided): Promise<ReadRows | undefined> {
    const { to, log } = this.#options;
    const { tables } = read.traits;
    const answer = await orNothing(read.ask(to), LONGEST_MS).catch((thrown: unknown) => {
      log.warn({ tables, reason: toFault(thrown).reason, err: thrown }, 'the new storage has refused a read; the old one has answered');
      return undefined;
    });
    if (answer !== undefined) return answer;
    this.#failed++;
    this.#restsUntil = performance.now() + REST_MS;
    return undefined;
  }
}

/** Of the last reads. */
class Times {
  readonly #ms: number[] = [];
  #next = 0;

  add(ms: number): void {
    this.#ms[this.#next] = ms;
    this.#next = (this.#next + 1) % TIMES_KEPT;
  }

  get median(): number | null {
    if (this.#ms.length === 0) return null;
    return this.#ms.toSorted((a, b) => a - b)[this.#ms.length >> 1]!;
  }
}
