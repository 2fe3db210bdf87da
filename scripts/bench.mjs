import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { launch } from './launch.mjs';
import { installLocked, isInstalled } from './npm.mjs';
import { dist, root, whole } from './paths.mjs';
import { providePrograms } from './programs.mjs';
import { Problem, step } from './progress.mjs';
import { setUp } from './set-up.mjs';

/** `npm run bench [-- name …]`. The peers it measures against are dependencies of test/bench alone. */
export async function bench(args) {
  await providePrograms('bench');
  const node = await setUp(whole);
  const peers = join(root, 'test', 'bench');
  if (!isInstalled(peers)) await step('Installing what the bench measures against', () => installLocked(peers));
  const entry = join(dist, 'test', 'bench', 'main.js');
  if (!existsSync(entry)) throw new Problem(`${entry} does not exist.`, 'The bench is compiled from test/bench/main.ts.');
  process.chdir(root);
  return launch(node, [entry, ...args]);
}
