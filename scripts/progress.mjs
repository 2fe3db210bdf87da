/** What went wrong and what to do about it: printed as such, without a stack. */
export class Problem extends Error {
  constructor(what, remedy) {
    super(what);
    this.remedy = remedy;
  }
}

/** Everything about set-up goes to stderr, so that a command's own output stays clean for pipes and --json. */
export function say(line) {
  process.stderr.write(`${line}\n`);
}

/** Prints one line for a step: what is being done, then how long it took. */
export async function step(what, work) {
  const startedAt = Date.now();
  process.stderr.write(`${what} … `);
  try {
    const result = await work();
    process.stderr.write(`${((Date.now() - startedAt) / 1000).toFixed(1)} s\n`);
    return result;
  } catch (error) {
    process.stderr.write('failed\n');
    throw error;
  }
}

export function lastLines(text, count) {
  return text.split('\n').slice(-count).join('\n');
}
