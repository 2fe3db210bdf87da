import { existsSync, realpathSync } from 'node:fs';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import type { Problem } from './problem.ts';
import { overlay, treeWith, valueAt, type Tree, type Value } from './tree.ts';
import { readYaml, readYamlValue } from './yaml-file.ts';

/** One source of settings; a later one lies on top of an earlier one. */
export interface Layer {
  /** What to tell a person who looks for a value: a file, `--set` or a variable. */
  readonly source: string;
  readonly tree: Tree;
  /** Relative file names in this layer count from here. */
  readonly folder: string;
  readonly lineOf?: (path: readonly string[]) => number | undefined;
}

/** A chain of `extends` longer than this is a mistake. */
const MAX_FILES = 16;

/** Where the topologies lie that come with the program. */
export const SHIPPED = join(import.meta.dirname, '..', '..', '..', '..', 'config');

/**
 * Reads a topology and all that it extends, the outermost base first. `topology` is a path, or the bare name of a file
 * in `./config` or among the shipped ones; `namedBy` is where a person gave it.
 */
export function fileLayers(topology: string, namedBy: string, cwd: string, problems: Problem[]): Layer[] {
  const layers: Layer[] = [];
  const chain: string[] = [];
  let next: string | undefined = find(topology, [cwd, join(cwd, 'config'), SHIPPED]);
  if (next === undefined) problems.push({ severity: 'error', path: '', source: namedBy, found: JSON.stringify(topology), expected: 'must be a file, or the name of one in ./config' });
  while (next !== undefined) {
    const file: string = realpathSync(next);
    const source = shorten(file, cwd);
    if (chain.includes(file) || chain.length === MAX_FILES) {
      problems.push({ severity: 'error', path: 'extends', source: shorten(chain.at(-1)!, cwd), expected: `must not lead back to where it began: ${[...chain, file].map((one) => shorten(one, cwd)).join(' → ')}` });
      break;
    }
    chain.push(file);
    const read = readYaml(file, problems);
    if (read === undefined) break;
    const { extends: base, ...tree } = read.tree;
    layers.unshift({ source, tree, folder: dirname(file), lineOf: read.lineOf });
    next = base === undefined ? undefined : baseOf(base, file, `${source}:${read.lineOf(['extends'])}`, problems);
  }
  return layers;
}

/** The file that `topology` means, absolute; undefined when there is none. */
export function topologyFile(topology: string, cwd: string): string | undefined {
  const found = find(topology, [cwd, join(cwd, 'config'), SHIPPED]);
  return found === undefined ? undefined : realpathSync(found);
}

function baseOf(base: Value, file: string, source: string, problems: Problem[]): string | undefined {
  const folders = [dirname(file), SHIPPED];
  if (typeof base === 'string') {
    const found = find(base, folders);
    if (found !== undefined) return found;
  }
  const expected = typeof base === 'string' ? `does not exist; looked for ${candidatesOf(base, folders).join(', ')}` : 'must be the name of a file beside this one, without .yaml, or a path';
  problems.push({ severity: 'error', path: 'extends', source, found: JSON.stringify(base), expected });
  return undefined;
}

function find(name: string, folders: readonly string[]): string | undefined {
  return candidatesOf(name, folders).find((candidate) => existsSync(candidate));
}

/** Where a file of this name may lie. */
function candidatesOf(name: string, folders: readonly string[]): string[] {
  const names = /\.ya?ml$/.test(name) ? [name] : [`${name}.yaml`, `${name}.yml`];
  return isAbsolute(name) ? names : folders.flatMap((folder) => names.map((one) => resolve(folder, one)));
}

function shorten(file: string, cwd: string): string {
  const path = relative(cwd, file);
  return path.startsWith('..') ? file : path;
}

/** `http.listen=127.0.0.1:9000`; the value is YAML, so that numbers, lists and maps can be given. */
export function setLayers(sets: readonly string[], cwd: string, problems: Problem[]): Layer[] {
  return sets.flatMap((set): Layer[] => {
    const [, path, text] = /^([A-Za-z][\w-]*(?:\.[\w-]+)*)=(.*)$/s.exec(set) ?? [];
    const reject = (expected: string): Layer[] => {
      problems.push({ severity: 'error', path: path ?? '', source: '--set', expected });
      return [];
    };
    if (path === undefined || path.split('.').includes('__proto__')) return reject('must look like path.to.setting=value');
    try {
      return [{ source: '--set', tree: treeWith(path.split('.'), readYamlValue(text!) as Value), folder: cwd }];
    } catch (error) {
      return reject(`the value must be YAML: ${(error as Error).message}`);
    }
  });
}

export function joinLayers(layers: readonly Layer[]): Tree {
  return layers.reduce<Tree>((below, layer) => overlay(below, layer.tree), {});
}

/** The layer that a path's value comes from, and how to name the place. */
export function sourceOf(layers: readonly Layer[], path: readonly string[]): { layer: Layer; name: string } | undefined {
  const layer = layers.findLast((one) => valueAt(one.tree, path) !== undefined);
  if (layer === undefined) return undefined;
  const line = layer.lineOf?.(path);
  return { layer, name: line === undefined ? layer.source : `${layer.source}:${line}` };
}
