import { createHash, randomFillSync } from 'node:crypto';

const BYTES_PER_ID = 10;
const POOL_BYTES = BYTES_PER_ID * 400;
const pool = Buffer.allocUnsafe(POOL_BYTES);
let used = POOL_BYTES;
let lastMs = 0;
let counter = 0;

/**
 * A UUID version 7 (RFC 9562): sortable by time of creation, strictly increasing within one process,
 * so that rows keyed by it append to the index instead of scattering over it.
 */
export function newId(): string {
  if (used === POOL_BYTES) {
    randomFillSync(pool);
    used = 0;
  }
  const now = Date.now();
  if (now > lastMs) {
    lastMs = now;
    counter = pool.readUInt16BE(used) & 0x7ff;
  } else if (++counter > 0xfff) {
    // More than the 12 bits hold in one millisecond, or a clock that went back: borrow from the next one.
    lastMs++;
    counter = 0;
  }
  const time = lastMs.toString(16).padStart(12, '0');
  const tail = pool.toString('hex', used + 2, used + 10);
  used += BYTES_PER_ID;
  const variant = ((parseInt(tail[0]!, 16) & 0x3) | 0x8).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${counter.toString(16).padStart(3, '0')}-${variant}${tail.slice(1, 4)}-${tail.slice(4)}`;
}

/**
 * The same id for the same parts, always (UUID version 8, SHA-256 of the parts). Gives a repeated step
 * the id that it had the first time, so that its effect can be recognised.
 */
export function idFrom(...parts: readonly (string | number)[]): string {
  const hash = createHash('sha256').update(JSON.stringify(parts)).digest('hex');
  const variant = ((parseInt(hash[16]!, 16) & 0x3) | 0x8).toString(16);
  return `${hash.slice(0, 8)}-${hash.slice(8, 12)}-8${hash.slice(13, 16)}-${variant}${hash.slice(17, 20)}-${hash.slice(20, 32)}`;
}

/** The time of an id of `newId`: its first 48 bits. */
const TIME_CHARACTERS = 'xxxxxxxx-xxxx'.length;

/**
 * As `idFrom`, with the time of `id`, which is of `newId` or made so itself: what follows from rows that were added
 * together lies together, too, and a large table is not touched all over for a few of its rows.
 */
export function idBeside(id: string, ...parts: readonly (string | number)[]): string {
  return id.slice(0, TIME_CHARACTERS) + idFrom(...parts).slice(TIME_CHARACTERS);
}
