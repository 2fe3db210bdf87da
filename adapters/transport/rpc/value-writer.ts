import { isPlainKey, Records, type Shape } from './records.ts';

/** Deeper values travel as JSON text. */
const DEEPEST = 64;
const SHORT_STRING = 40;
const PLAIN = Object.prototype;
const NONE: readonly Shape[] = [];

/**
 * Writes values as MessagePack with records (docs/wire.md), one after the other, into a buffer that grows. What comes
 * out at the other end is what JSON.parse(JSON.stringify(value)) would give; a value for which that takes more than
 * plain objects, arrays and scalars is refused here, and travels as JSON text.
 *
 * msgpackr's own writer is not used: it renames `__proto__`, turns lone surrogates into other characters, keeps
 * undefined and NaN, and loses track of its records when it gives up half-way. Checking each value first costs half as
 * much as packing it; writing and checking in one go costs less than packing alone.
 */
export class ValueWriter {
  /** Where the next byte goes. */
  at = 0;
  /** How far a value may reach; what does not fit is refused, and `large` says so. */
  end = Infinity;
  large = false;
  bytes: Buffer;
  #view: DataView;
  #records = new Records();
  #definitions: Shape[] = [];

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
    this.#view = viewOf(this.bytes);
  }

  /** Goes on in another buffer, from its beginning. */
  turnTo(bytes: Buffer): void {
    this.bytes = bytes;
    this.#view = viewOf(bytes);
    this.at = 0;
  }

  /** Whether the records that the other side knows no longer fit what is written. */
  get isStale(): boolean {
    return this.#records.stale;
  }

  forgetRecords(): void {
    this.#records = new Records();
    this.#definitions = [];
  }

  /** Shapes that became records since the last time: to be defined, by `definition`, before what uses them. */
  takeDefinitions(): readonly Shape[] {
    if (this.#definitions.length === 0) return NONE;
    const taken = this.#definitions;
    this.#definitions = [];
    return taken;
  }

  /** The beginning of an array; `length` values follow. Below 16. */
  array(length: number): void {
    this.#reserve(1);
    this.bytes[this.at++] = 0x90 | length;
  }

  /** A whole number from 0 to 2^32 - 1. */
  whole(value: number): void {
    this.#reserve(5);
    const { bytes } = this;
    if (value < 0x40) bytes[this.at++] = value;
    else if (value < 0x100) {
      bytes[this.at] = 0xcc;
      bytes[this.at + 1] = value;
      this.at += 2;
    } else {
      bytes[this.at] = 0xce;
      this.#view.setUint32(this.at + 1, value);
      this.at += 5;
    }
  }

  /** False when it does not fit or has a lone surrogate; then what was written is to be taken back. */
  text(value: string): boolean {
    const { length } = value;
    if (length >= SHORT_STRING) return this.#longText(value);
    this.#reserve(2 + length);
    const { bytes, at } = this;
    let to = at + (length < 32 ? 1 : 2);
    for (let i = 0; i < length; i++) {
      const unit = value.charCodeAt(i);
      if (unit >= 0x80) return this.#longText(value);
      bytes[to++] = unit;
    }
    if (length < 32) bytes[at] = 0xa0 | length;
    else {
      bytes[at] = 0xd9;
      bytes[at + 1] = length;
    }
    this.at = to;
    return true;
  }

  nil(): void {
    this.#reserve(1);
    this.bytes[this.at++] = 0xc0;
  }

  /** False when the value cannot be written so, or does not fit; then what was written is to be taken back. */
  value(value: unknown, levels = DEEPEST): boolean {
    switch (typeof value) {
      case 'string':
        return this.text(value);
      case 'number':
        this.#number(value);
        return true;
      case 'boolean':
        this.#reserve(1);
        this.bytes[this.at++] = value ? 0xc3 : 0xc2;
        return true;
      case 'object':
        if (value === null) {
          this.nil();
          return true;
        }
        if (levels === 0) return false;
        return Array.isArray(value) ? this.#array(value, levels - 1) : this.#object(value as Record<string, unknown>, levels - 1);
      case 'bigint':
        return false;
      default:
        // In an array, what JSON has no word for is null; in an object its key is left out, before it gets here.
        this.nil();
        return true;
    }
  }

  #number(value: number): void {
    if (value >>> 0 === value) return this.whole(value);
    if (!Number.isFinite(value)) return this.nil();
    this.#reserve(9);
    const { bytes } = this;
    if (value >> 0 === value) {
      bytes[this.at] = 0xd2;
      this.#view.setInt32(this.at + 1, value);
      this.at += 5;
    } else {
      bytes[this.at] = 0xcb;
      this.#view.setFloat64(this.at + 1, value);
      this.at += 9;
    }
  }

  #longText(value: string): boolean {
    const { length } = value;
    const most = length < 0x1_0000 ? length * 3 : Buffer.byteLength(value);
    if (this.at + length > this.end) return this.#tooLarge();
    this.#reserve(5 + most);
    const { bytes, at } = this;
    const header = most < 0x100 ? 2 : most < 0x1_0000 ? 3 : 5;
    const written = bytes.write(value, at + header);
    // As many bytes as characters: ASCII, so that nothing was replaced.
    if (written !== length && !value.isWellFormed()) return false;
    if (header === 2) {
      bytes[at] = 0xd9;
      bytes[at + 1] = written;
    } else if (header === 3) {
      bytes[at] = 0xda;
      this.#view.setUint16(at + 1, written);
    } else {
      bytes[at] = 0xdb;
      this.#view.setUint32(at + 1, written);
    }
    this.at = at + header + written;
    return this.at <= this.end || this.#tooLarge();
  }

  #array(value: readonly unknown[] & { toJSON?: unknown }, levels: number): boolean {
    if (value.toJSON !== undefined) return false;
    const { length } = value;
    this.#reserve(5);
    if (length < 16) this.bytes[this.at++] = 0x90 | length;
    else {
      this.bytes[this.at] = 0xdd;
      this.#view.setUint32(this.at + 1, length);
      this.at += 5;
    }
    for (let i = 0; i < length; i++) if (!this.value(value[i], levels)) return false;
    return this.at <= this.end || this.#tooLarge();
  }

  #object(value: Record<string, unknown>, levels: number): boolean {
    if (value.constructor !== Object || value.toJSON !== undefined || Object.getPrototypeOf(value) !== PLAIN) return false;
    const records = this.#records;
    if (records.full && !this.#isKnown(value)) return this.#map(value, levels);
    this.#reserve(1);
    const markAt = this.at++;
    let shape = records.root;
    for (const key in value) {
      const member = value[key];
      if (isLeftOut(member)) continue;
      const next = shape.child(key) ?? records.grow(shape, key);
      if (next === undefined) {
        // Objects inside have used up the room meanwhile; or this one is none that a record can hold.
        if (!records.full) return false;
        this.at = markAt;
        return this.#map(value, levels);
      }
      shape = next;
      if (!this.value(member, levels)) return false;
    }
    if (shape === records.root) this.bytes[markAt] = 0x80;
    else {
      if (shape.mark === 0) {
        if (records.full) {
          this.at = markAt;
          return this.#map(value, levels);
        }
        records.define(shape);
        this.#definitions.push(shape);
      }
      this.bytes[markAt] = shape.mark;
    }
    return this.at <= this.end || this.#tooLarge();
  }

  #isKnown(value: Record<string, unknown>): boolean {
    let shape: Shape | undefined = this.#records.root;
    for (const key in value) {
      if (isLeftOut(value[key])) continue;
      shape = shape.child(key);
      if (shape === undefined) return false;
    }
    return shape.mark !== 0 || shape === this.#records.root;
  }

  #map(value: Record<string, unknown>, levels: number): boolean {
    this.#records.miss();
    this.#reserve(3);
    const countAt = this.at + 1;
    this.bytes[this.at] = 0xde;
    this.at += 3;
    let count = 0;
    for (const key in value) {
      const member = value[key];
      if (isLeftOut(member)) continue;
      if (!isPlainKey(key) || !this.text(key) || !this.value(member, levels)) return false;
      count++;
    }
    if (count > 0xffff) return false;
    this.#view.setUint16(countAt, count);
    return this.at <= this.end || this.#tooLarge();
  }

  /** Ends with the values that a definition must be followed by, all null; the object that comes of it is thrown away. */
  definition(shape: Shape): void {
    const { keys } = shape;
    this.#reserve(8 + keys.length);
    this.bytes[this.at++] = 0xd4;
    this.bytes[this.at++] = 0x72;
    this.bytes[this.at++] = shape.mark;
    this.#array(keys, 1);
    for (let i = 0; i < keys.length; i++) this.nil();
  }

  #tooLarge(): false {
    this.large = true;
    return false;
  }

  #reserve(count: number): void {
    if (this.at + count > this.bytes.length) this.#grow(count);
  }

  #grow(count: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(this.at + count, this.bytes.length * 2));
    this.bytes.copy(larger, 0, 0, this.at);
    this.bytes = larger;
    this.#view = viewOf(larger);
  }
}

function isLeftOut(member: unknown): boolean {
  return member === undefined || typeof member === 'function' || typeof member === 'symbol';
}

function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length);
}
