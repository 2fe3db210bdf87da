import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { run } from './children.mjs';
import { bundledPackages, dist, product, root, whole } from './paths.mjs';
import { Problem, step } from './progress.mjs';

const compilerState = join(dist, '.tsbuildinfo');
const bundler = join(root, 'scripts', 'bundle.mjs');
/** Plain JavaScript that runs where it stands, with packages of its own. */
const notOurs = new Set([join(root, 'test', 'bench', 'peers'), join(root, 'test', 'bench', 'node_modules')]);
const packageFiles = new Set(['package.json', 'package-lock.json']);

/** `part` is `product` or `whole`: a mistake in a test must not keep the application from starting. */
export function isBuilt(part) {
  const sources = listSources(part);
  return readStamp(part) === fingerprint(sources, part) && missingOutputs(sources).length === 0 && existsSync(bundledPackages);
}

/** Compiles what changed, copies what is no TypeScript, and removes what has no source any more. */
export async function build(node, part) {
  if (isBuilt(part)) return;
  await step('Building', () => compileAndCopy(node, part));
}

async function compileAndCopy(node, part) {
  // Both write to the same place: the smaller build leaves the tests behind, the larger one holds the smaller.
  for (const each of [product, whole]) rmSync(stampOf(each), { force: true });
  const sources = listSources(part);
  const marks = (part === whole ? [product, whole] : [product]).map((each) => [stampOf(each), fingerprint(listSources(each), each)]);
  // The compiler trusts its own record, so outputs that somebody deleted would never come back.
  if (missingOutputs(sources.filter(isTypeScript)).length > 0) rmSync(compilerState, { force: true });
  await compile(node, part);
  copyAssets(sources);
  prune(new Set(sources.map(outputOf)), part);
  await bundle(node);
  for (const [stamp, mark] of marks) writeFileSync(stamp, mark);
}

async function compile(node, { config }) {
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const result = await run(node, [compiler, '-p', config, '--pretty', 'false'], { cwd: root });
  if (!result.ok) throw new Problem(`The TypeScript compiler reports:\n${result.output}`, 'Correct these and run the same command again. On a fresh clone, please report them.');
}

async function bundle(node) {
  const result = await run(node, [bundler], { cwd: root });
  if (!result.ok) throw new Problem(`Packages cannot be bundled:\n${result.output}`, 'Run "npm ci" and the same command again. On a fresh clone, please report it.');
}

/** All files below the part's folders, relative to the project, with time and size. */
function listSources({ folders }) {
  const found = [];
  const visit = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.name.startsWith('.') || entry.name === 'node_modules' || notOurs.has(path) || packageFiles.has(entry.name)) continue;
      if (entry.isDirectory()) visit(path);
      else found.push({ path: relative(root, path), stat: statSync(path) });
    }
  };
  for (const folder of folders) if (existsSync(join(root, folder))) visit(join(root, folder));
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function fingerprint(sources, { config }) {
  const hash = createHash('sha256');
  for (const { path, stat } of sources) hash.update(`${path} ${stat.mtimeMs} ${stat.size}\n`);
  for (const file of new Set(['tsconfig.json', config, 'package-lock.json', relative(root, bundler)])) hash.update(readFileSync(join(root, file)));
  return hash.digest('hex');
}

function stampOf({ name }) {
  return join(dist, `.build-stamp-${name}`);
}

function readStamp(part) {
  return existsSync(stampOf(part)) ? readFileSync(stampOf(part), 'utf8') : undefined;
}

function missingOutputs(sources) {
  return sources.map(outputOf).filter((path) => path && !existsSync(join(dist, path)));
}

function isTypeScript({ path }) {
  return /\.[cm]?tsx?$/.test(path);
}

/** Where a source's result lies below `dist`; a declaration has none. */
function outputOf({ path }) {
  if (/\.d\.[cm]?ts$/.test(path)) return undefined;
  return path.replace(/\.([cm]?)tsx?$/, '.$1js');
}

function copyAssets(sources) {
  for (const source of sources) {
    if (isTypeScript(source)) continue;
    const target = join(dist, source.path);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(join(root, source.path), target);
  }
}

/** A test whose source is gone must not go on running. */
function prune(outputs, { folders }) {
  const visit = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) visit(path);
      else if (!outputs.has(relative(dist, path).replace(/(\.[cm]?js)\.map$/, '$1'))) rmSync(path);
    }
  };
  for (const folder of folders) if (existsSync(join(dist, folder))) visit(join(dist, folder));
}
