import { createHash } from 'node:crypto';

/** memcached's limit; a key may hold neither spaces nor control characters. */
const MOST_BYTES = 250;
const PLAIN = /^[\x21-\x7e]*$/;
/** Before what is a hash; a key that begins so by itself is hashed as well, so that none can pass for another. */
const HASHED = '#';

/** The key as memcached takes it: itself where it can be, else its SHA-256 (of its JSON text, which any string has). */
export function memcachedKey(prefix: string, key: string): string {
  if (PLAIN.test(key) && !key.startsWith(HASHED) && key !== '' && prefix.length + key.length <= MOST_BYTES) return prefix + key;
  return prefix + HASHED + createHash('sha256').update(JSON.stringify(key)).digest('hex');
}

/** Which of `count` servers has the key: FNV-1a, the same on every host. */
export function serverOf(key: string, count: number): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  return (hash >>> 0) % count;
}
