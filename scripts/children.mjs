import { spawn } from 'node:child_process';

const underWay = new Set();
let report = () => {};
let stopping = false;

/** Tells `listener` the process ids of what is running, now and at each change. */
export function watchChildren(listener) {
  report = () => listener([...underWay].map((child) => child.pid));
  report();
}

/** Runs a program to its end, silently; its last words come back in `output` (at most 64 KB). */
export function run(program, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let output = '';
    const keep = (chunk) => (output = (output + chunk).slice(-65_536));
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    child.on('error', (error) => keep(`${error.message}\n`));
    child.on('close', (code) => {
      underWay.delete(child);
      report();
      if (!stopping) resolve({ ok: code === 0, output: output.trim() });
    });
    if (child.pid === undefined) return;
    underWay.add(child);
    report();
  });
}

/**
 * Passes a signal on and waits until nothing runs any more: npm takes a moment to undo what it began. What waits for
 * a child's result waits for ever from here on; the caller ends the process.
 */
export async function stopChildren(signal) {
  stopping = true;
  const ended = [...underWay].map((child) => new Promise((resolve) => child.once('close', resolve)));
  for (const child of underWay) child.kill(signal);
  await Promise.all(ended);
}
