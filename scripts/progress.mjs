import { spawn } from 'node:child_process';

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

const underWay = new Set();

/** Children of a set-up that is interrupted must not go on by themselves. */
export function stopUnderWay(signal) {
  for (const child of underWay) child.kill(signal);
}

/** Runs a program to its end, silently; its last words come back in `output` (at most 64 KB). */
export function run(program, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let output = '';
    const keep = (chunk) => (output = (output + chunk).slice(-65_536));
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    underWay.add(child);
    child.on('error', (error) => keep(`${error.message}\n`));
    child.on('close', (code) => {
      underWay.delete(child);
      resolve({ ok: code === 0, output: output.trim() });
    });
  });
}

export function lastLines(text, count) {
  return text.split('\n').slice(-count).join('\n');
}
