import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './children.mjs';
import { Problem } from './progress.mjs';

/**
 * A person's own npm settings (production installs, no optional packages, strict engines, no lock file) must not
 * decide what is installed here; where packages come from stays theirs.
 */
const ours = ['--include=dev', '--include=optional', '--package-lock', '--engine-strict=false', '--no-audit', '--no-fund', '--loglevel=error'];

/** Runs the npm that runs us, else the one on the path. */
export async function npm(args, cwd) {
  const cli = process.env.npm_execpath;
  const [program, first] = cli?.endsWith('npm-cli.js') ? [process.execPath, [cli]] : ['npm', []];
  const env = { ...process.env, npm_config_update_notifier: 'false' };
  return run(program, [...first, ...args, ...ours], { cwd, env });
}

/** Installs exactly what the lock file in `folder` says. */
export async function installLocked(folder) {
  const result = await npm(['ci'], folder);
  // npm says first what is wrong and then how it is used in general.
  const words = result.output.split('\n').slice(0, 25).join('\n');
  if (!result.ok) throw new Problem(`npm ci failed in ${folder}:\n${words}`, 'Check that npm reaches its registry ("npm ping") and that the disk has 500 MB free, then run the same command again.');
}

/**
 * Whether `node_modules` holds what the lock file says. npm writes its own record, node_modules/.package-lock.json,
 * after an installation succeeded; every locked package that belongs on this machine must stand there in the same
 * version, and its folder must exist.
 */
export function isInstalled(folder) {
  const locked = Object.entries(readLockFile(join(folder, 'package-lock.json')));
  const installed = recordOf(folder);
  const isThere = (path, wanted) => installed[path]?.integrity === wanted.integrity && existsSync(join(folder, path, 'package.json'));
  return locked.every(([path, wanted]) => path === '' || !belongsHere(wanted) || isThere(path, wanted));
}

function readLockFile(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch (error) {
    throw new Problem(`${path} cannot be read: ${error.message}`, 'Restore it from git, then run the same command again.');
  }
}

/** Missing or half written counts as nothing installed. */
function recordOf(folder) {
  try {
    return JSON.parse(readFileSync(join(folder, 'node_modules', '.package-lock.json'), 'utf8')).packages;
  } catch {
    return {};
  }
}

/** An optional package without a platform of its own may be missing: npm leaves it out when it fails to install. */
function belongsHere({ optional, os, cpu, libc }) {
  if (!optional) return true;
  return Boolean(os || cpu) && !libc && matches(os, process.platform) && matches(cpu, process.arch);
}

function matches(wanted, actual) {
  if (!wanted) return true;
  const list = [wanted].flat();
  return list.includes(actual) || (list.every((entry) => entry.startsWith('!')) && !list.includes(`!${actual}`));
}
