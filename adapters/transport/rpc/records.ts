/** How many shapes of objects one direction of a connection knows at a time: a record's mark is one byte, 0x40 to 0x7f. */
export const MOST_RECORDS = 64;
/** How many keys the tree of shapes may hold; objects with keys that are data would make it grow without end. */
const MOST_NODES = 4_096;
/** After so many objects that found no record, all are forgotten, and those in use now get theirs. */
const MOST_MISSES = 2_000;
export const MOST_KEYS = 64;
const LONGEST_KEY = 64;

/** A place in the tree of shapes: the keys on the way to it, in order. */
export class Shape {
  readonly parent: Shape | undefined;
  readonly key: string;
  readonly depth: number;
  /** The record's mark; 0 while this shape has none. */
  mark = 0;
  #children: Map<string, Shape> | undefined;
  // Most objects at a place continue as the last one did.
  #lastKey: string | undefined;
  #last: Shape | undefined;

  constructor(parent?: Shape, key = '') {
    this.parent = parent;
    this.key = key;
    this.depth = parent === undefined ? 0 : parent.depth + 1;
  }

  child(key: string): Shape | undefined {
    if (this.#lastKey === key) return this.#last;
    const found = this.#children?.get(key);
    if (found === undefined) return undefined;
    this.#lastKey = key;
    return (this.#last = found);
  }

  add(key: string): Shape {
    const made = new Shape(this, key);
    (this.#children ??= new Map()).set(key, made);
    return made;
  }

  get keys(): string[] {
    return this.parent === undefined ? [] : [...this.parent.keys, this.key];
  }
}

/** Whether a key may stand in a record or map; others travel as JSON text (`__proto__` is renamed by decoders). */
export function isPlainKey(key: string): boolean {
  return key !== '__proto__' && key.isWellFormed();
}

/** The shapes of objects that the other side has been told of, in one direction of one connection. */
export class Records {
  readonly root = new Shape();
  #nodes = 0;
  #count = 0;
  #misses = 0;

  /** No shape is learnt any more. */
  get full(): boolean {
    return this.#count === MOST_RECORDS || this.#nodes >= MOST_NODES;
  }

  /** Those that are known serve badly: it is time to begin afresh. */
  get stale(): boolean {
    return this.#misses > MOST_MISSES;
  }

  miss(): void {
    this.#misses++;
  }

  /** The shape one key further, learnt where there is room; undefined for what cannot be a record. */
  grow(shape: Shape, key: string): Shape | undefined {
    if (this.full || shape.depth === MOST_KEYS || key.length > LONGEST_KEY || !isPlainKey(key)) return undefined;
    this.#nodes++;
    return shape.add(key);
  }

  /** Gives a shape its mark. Only where there is room. */
  define(shape: Shape): void {
    shape.mark = 0x40 + this.#count++;
  }
}
