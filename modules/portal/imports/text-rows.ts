/** Of one row, in bytes: a person of 32 KB with every quote doubled, and room to spare. */
export const MOST_ROW_BYTES = 131_072;

/** Where in a file something begins: so many bytes behind the first, in this line (the first is 1). */
export interface Place {
  readonly position: number;
  readonly line: number;
}

export type RowProblem = 'row_too_long' | 'quote_not_closed' | 'quote_misplaced' | 'not_utf8';

/** A row as it stands in the file, or what is wrong with it. */
export interface TextRow<T> {
  readonly line: number;
  readonly content: T | RowProblem;
}

/** What a row comes to, and where it ends; of one that is broken, how far it was looked at. */
export interface ReadResult<T> {
  readonly content: T | RowProblem;
  readonly end: number;
  /** Nobody can tell where it ends. */
  readonly isBroken?: true;
}

/** Reads the row that begins at `from`; undefined when the bytes end before it does. */
export type ReadRow<T> = (bytes: Buffer, from: number, isLast: boolean) => ReadResult<T> | undefined;

const LF = 0x0a;
/** What some programs put before text in UTF-8. */
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/**
 * Cuts a file that comes in pieces into rows, holding one row and one piece at most. A row that is broken costs the line
 * that it begins in: reading goes on with the next line, so that one quote too many does not swallow the rest. One that
 * begins where the last broken one was looked at, and is broken too, costs all that it was looked at for: nothing is
 * read again and again.
 */
export class TextRows<T extends object> {
  readonly #read: ReadRow<T>;
  #held: Buffer = Buffer.alloc(0);
  #from = 0;
  /** Of what is held, in the file. */
  #place: Place = { position: 0, line: 1 };
  #skip = 0;
  #isLast = false;
  /** Told of when what it costs is behind us, so that nobody goes on in the middle of it. */
  #broken: { readonly row: TextRow<T>; readonly upTo: number } | undefined;
  /** How far, in the file, the last one that was broken has been looked at. */
  #lookedTo = 0;

  constructor(read: ReadRow<T>) {
    this.#read = read;
  }

  /** Where the next row begins. */
  get place(): Place {
    return this.#place;
  }

  push(chunk: Uint8Array): void {
    const rest = chunk.subarray(Math.min(this.#skip, chunk.length));
    this.#skip -= chunk.length - rest.length;
    this.#held = Buffer.concat([this.#held.subarray(this.#from), rest]);
    this.#from = 0;
  }

  /** Nothing comes any more. */
  end(): void {
    this.#isLast = true;
  }

  /** Goes on at a place further on, where an earlier reading of the same file stopped between two rows. */
  skipTo(place: Place): void {
    const ahead = place.position - this.#place.position;
    const held = this.#held.length - this.#from;
    this.#skip = Math.max(ahead - held, 0);
    this.#from += Math.min(ahead, held);
    this.#place = place;
  }

  /** The next row; undefined when more has to come first, or nothing is left. */
  take(): TextRow<T> | undefined {
    if (this.#place.position === 0 && !this.#dropMark()) return undefined;
    if (this.#broken !== undefined) return this.#behindBroken();
    if (this.#from === this.#held.length) return undefined;
    const most = this.#from + MOST_ROW_BYTES + 1;
    const isAll = this.#held.length < most;
    const read = this.#read(isAll ? this.#held : this.#held.subarray(0, most), this.#from, isAll && this.#isLast);
    if (read === undefined && isAll && !this.#isLast) return undefined;
    const end = read?.end ?? Math.min(this.#held.length, most);
    const isTooLong = end - this.#from > MOST_ROW_BYTES;
    const row: TextRow<T> = { line: this.#place.line, content: isTooLong ? 'row_too_long' : (read?.content ?? 'quote_not_closed') };
    if (isTooLong || read === undefined || read.isBroken === true) return this.#dropBroken(row, end);
    this.#advance(end);
    return row;
  }

  /** False while it cannot be told whether there is one. */
  #dropMark(): boolean {
    const begin = this.#held.subarray(this.#from, this.#from + BYTE_ORDER_MARK.length);
    if (begin.equals(BYTE_ORDER_MARK)) this.#advance(this.#from + BYTE_ORDER_MARK.length);
    return begin.length === BYTE_ORDER_MARK.length || this.#isLast;
  }

  #dropBroken(row: TextRow<T>, end: number): TextRow<T> | undefined {
    const { position } = this.#place;
    const lookedTo = position + end - this.#from;
    this.#broken = { row, upTo: position < this.#lookedTo ? lookedTo : position };
    this.#lookedTo = lookedTo;
    return this.#behindBroken();
  }

  #behindBroken(): TextRow<T> | undefined {
    const { row, upTo } = this.#broken!;
    const end = this.#held.indexOf(LF, this.#from + Math.max(upTo - this.#place.position, 0));
    this.#advance(end < 0 ? this.#held.length : end + 1);
    if (end < 0 && !this.#isLast) return undefined;
    this.#broken = undefined;
    return row;
  }

  #advance(to: number): void {
    let lines = 0;
    for (let at = this.#held.indexOf(LF, this.#from); at >= 0 && at < to; at = this.#held.indexOf(LF, at + 1)) lines++;
    this.#place = { position: this.#place.position + to - this.#from, line: this.#place.line + lines };
    this.#from = to;
  }
}
