import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { onParentGone } from './parent.mjs';
import { root } from './paths.mjs';

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const samePressMs = 1_000;

/**
 * Runs Node with our own input, output and signals, and resolves with its exit code.
 *
 * Ctrl-C in a terminal reaches the whole process group, and npm sends it on once more. The child would be told two or
 * three times to stop and could take the second for "now, at once". It therefore gets a group of its own and hears
 * of a signal once, through us; a second Ctrl-C more than a second later is meant and goes through.
 */
export function launch(node, args, env = {}) {
  const follow = pathToFileURL(join(root, 'scripts', 'follow-launcher.mjs')).href;
  const child = spawn(node, ['--import', follow, ...args], {
    stdio: 'inherit',
    detached: true,
    env: { ...process.env, ...env, PATH: pathFor(node), MULTILITH_LAUNCHER: String(process.pid) },
  });
  const lastAt = new Map();
  const forward = (signal) => {
    const now = Date.now();
    if (now - (lastAt.get(signal) ?? 0) < samePressMs) return;
    lastAt.set(signal, now);
    child.kill(signal);
  };
  for (const signal of forwarded) process.on(signal, forward);
  // npm killed outright takes us with it; a shell that ends does not (nohup, disown).
  if (process.env.npm_lifecycle_event) onParentGone(() => forward('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? 128 + (constants.signals[signal] ?? 0)));
  });
}

/** Children that say `node` get the same one; programs for administrators are found by everybody. */
function pathFor(node) {
  return [dirname(node), process.env.PATH, '/usr/sbin', '/sbin'].filter(Boolean).join(delimiter);
}
