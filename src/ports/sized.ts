/**
 * The keys in parts, each of a size for which there is a statement, since each size is prepared for itself: the smallest
 * that holds what is left, else the largest. Filled up with a key of the part; as parameters they are `s0`, `s1`, and so on.
 * `sizes` rise.
 */
export function* inSizes<S extends { readonly size: number }, K>(sizes: readonly S[], keys: readonly K[]): Generator<[S, Record<`s${number}`, K>]> {
  for (let at = 0; at < keys.length; ) {
    const left = keys.length - at;
    const one = sizes.find(({ size }) => size >= left) ?? sizes.at(-1)!;
    yield [one, Object.fromEntries(Array.from({ length: one.size }, (_, i) => [`s${i}`, keys[at + i] ?? keys[at]!]))];
    at += one.size;
  }
}
