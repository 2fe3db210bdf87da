import type { TestContext as Test } from 'node:test';

/**
 * The longest that this thread computed without giving the event loop its turn, in ms of its own CPU time: what other
 * programs take from the processor meanwhile does not count. Waiting for a disk does not either.
 */
export function longestTurn(t: Test): { ms(): number } {
  const now = (): number => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1_000;
  };
  let last = now();
  let longest = 0;
  const look = (): void => {
    const at = now();
    longest = Math.max(longest, at - last);
    last = at;
  };
  const beat = setInterval(look, 1);
  t.after(() => clearInterval(beat));
  return {
    ms() {
      look();
      return longest;
    },
  };
}
