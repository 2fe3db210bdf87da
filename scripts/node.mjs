import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './children.mjs';
import { installLocked, npm } from './npm.mjs';
import { root, toolchain } from './paths.mjs';
import { Problem, lastLines, step } from './progress.mjs';

/** The application needs this; these scripts themselves run on 18. From 24.15 on, node:sqlite is no experiment. */
const oldest = { major: 24, minor: 15 };
const pinned = '24.21.0';
const folder = `node-${pinned}-${process.platform}-${process.arch}`;
const home = join(toolchain, folder);
/** Written last, so that a half-made installation does not count; holds the binary's path below `home`. */
const verified = join(home, 'verified');

/** The Node that runs the application: the machine's own if new enough, else the project's, else undefined. */
export function findNode() {
  if (isNewEnough(process.version)) return process.execPath;
  if (!existsSync(verified)) return undefined;
  const binary = join(home, readFileSync(verified, 'utf8'));
  return existsSync(binary) ? binary : undefined;
}

function isNewEnough(version) {
  const [major, minor] = version.slice(1).split('.').map(Number);
  return major > oldest.major || (major === oldest.major && minor >= oldest.minor);
}

export async function provideNode() {
  if (findNode()) return;
  await step(`Fetching Node ${pinned} for this project (this machine has ${process.version})`, fetchNode);
  for (const other of readdirSync(toolchain)) {
    if (other.startsWith('node-') && other !== folder) rmSync(join(toolchain, other), { recursive: true, force: true });
  }
}

/**
 * The npm package `node` only carries an install script, which fetches the package of the platform; npm may be told
 * to run no scripts and then leaves no binary without a word. The platform's own package is therefore taken directly,
 * with its hash from our lock file; `node` itself serves the platforms that the lock file does not list.
 */
async function fetchNode() {
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  for (const file of ['package.json', 'package-lock.json']) copyFileSync(join(root, 'scripts', 'toolchain', file), join(home, file));
  await installLocked(home);
  const tried = [await verify(join('node_modules', `node-${process.platform}-${process.arch}`, 'bin', 'node'))];
  if (tried[0] === 'ok') return;
  const result = await npm(['install', '--no-save', '--ignore-scripts=false', `node@${pinned}`], home);
  tried.push(result.ok ? await verify(join('node_modules', 'node', 'bin', 'node')) : result.output);
  if (tried[1] === 'ok') return;
  throw new Problem(
    `No Node ${pinned} for ${process.platform} ${process.arch} could be installed from npm:\n${tried.map((words) => lastLines(words, 12)).join('\n')}`,
    `Check that npm reaches its registry ("npm ping"), or install Node ${oldest.major}.${oldest.minor} or newer yourself (nodejs.org, nvm) and put it first in PATH; then run the same command again.`,
  );
}

async function verify(binary) {
  const { output } = await run(join(home, binary), ['-p', 'process.version']);
  if (output !== `v${pinned}`) return `${binary}: ${output}`;
  writeFileSync(verified, binary);
  return 'ok';
}
