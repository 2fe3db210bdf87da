/** What one value costs beside its text, roughly. */
const VALUE_BYTES = 16;
/** A request that lies deeper than this is not looked at any further. */
const DEEPEST = 100;

/**
 * Whether two JSON values say the same, whatever the order of their keys; a field that is undefined is as good as left
 * out. False, too, for what is too deep to compare.
 */
export function sameJson(a: unknown, b: unknown, depth = 0): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || depth > DEEPEST) return false;
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((value, at) => sameJson(value, b[at], depth + 1));
  return !Array.isArray(b) && sameFields(a as Fields, b as Fields, depth);
}

type Fields = Readonly<Record<string, unknown>>;

/** By for-in, which makes no array of keys: this is a third of what a cache hit costs. JSON values inherit no fields. */
function sameFields(a: Fields, b: Fields, depth: number): boolean {
  let left = 0;
  for (const key in a) if (a[key] !== undefined) left++;
  for (const key in b) {
    if (b[key] === undefined) continue;
    if (!Object.hasOwn(a, key) || !sameJson(a[key], b[key], depth + 1)) return false;
    left--;
  }
  return left === 0;
}

/** Freezes a JSON value to its leaves, and says how much memory it takes, roughly. Takes values of any depth. */
export function freezeJson(root: unknown): number {
  let bytes = 0;
  const left = [root];
  while (left.length > 0) {
    const value = left.pop();
    bytes += VALUE_BYTES;
    if (typeof value === 'string') bytes += value.length;
    if (typeof value !== 'object' || value === null) continue;
    Object.freeze(value);
    for (const [key, inner] of Object.entries(value)) {
      bytes += key.length;
      left.push(inner);
    }
  }
  return bytes;
}
