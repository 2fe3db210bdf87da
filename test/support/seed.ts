/** A small random generator (mulberry32) whose runs can be repeated: give the printed seed as MULTILITH_SEED. */
export interface Random {
  readonly seed: number;
  /** At least 0, below `below`. */
  whole(below: number): number;
}

export function seeded(print: (line: string) => void): Random {
  const seed = Number(process.env.MULTILITH_SEED ?? Math.floor(Math.random() * 2 ** 31));
  print(`seed ${seed}`);
  let state = seed;
  return {
    seed,
    whole(below) {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
    },
  };
}
