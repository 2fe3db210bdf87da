// The one entry of every npm script. It runs on any Node from 18 up and without dependencies, because it is what
// brings both: a Node that is new enough and what package-lock.json lists. (package.json says ">=18" for that reason.)
import { bench } from './bench.mjs';
import { launch } from './launch.mjs';
import { dist, product, whole } from './paths.mjs';
import { Problem, say } from './progress.mjs';
import { setUp } from './set-up.mjs';
import { test, testFaults } from './test.mjs';
import { join } from 'node:path';

const tasks = { build: async () => void (await setUp(whole)), test, 'test:faults': testFaults, bench };

/** Whatever is no task of the repository is a command of the application. */
async function application(args) {
  return launch(await setUp(product), [join(dist, 'src', 'main.js'), ...args]);
}

async function main([name, ...args]) {
  const task = Object.hasOwn(tasks, name ?? '') ? () => tasks[name](args) : () => application(name === undefined ? [] : [name, ...args]);
  try {
    process.exitCode = (await task()) ?? 0;
  } catch (error) {
    say(error instanceof Problem ? `\n${error.message}\n\n${error.remedy}` : `\n${error.stack}`);
    process.exitCode = 1;
  }
}

await main(process.argv.slice(2));
process.exit();
