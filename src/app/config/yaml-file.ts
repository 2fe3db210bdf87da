import { readFileSync, statSync } from 'node:fs';
import { isMap, LineCounter, parseDocument, type Document, type Scalar } from 'yaml';
import type { Problem } from './problem.ts';
import { isTree, type Tree } from './tree.ts';

/** Far above any topology; keeps a wrong path (a database, a device) from being read into memory. */
const MAX_BYTES = 256 * 1024;
const KEY = /^[A-Za-z][\w.-]{0,99}$/;

export interface YamlFile {
  readonly tree: Tree;
  /** The line that a path stands on; undefined when it is not in this file. */
  lineOf(path: readonly string[]): number | undefined;
}

/** Reads one file of the configuration. Problems are collected; undefined when nothing can be made of it. */
export function readYaml(file: string, problems: Problem[]): YamlFile | undefined {
  const text = readText(file, problems);
  if (text === undefined) return undefined;
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: 'error', customTags: (tags) => [groupedInt, ...tags] });
  for (const error of document.errors) report(problems, `${file}:${lines.linePos(error.pos[0]).line}`, oneLine(error.message));
  if (document.errors.length > 0) return undefined;
  const tree = toTree(document, file, problems);
  return tree && { tree, lineOf: (path) => lineOf(document, lines, path) };
}

/** One value as it would stand in a file, for `--set`. */
export function readYamlValue(text: string): unknown {
  const document = parseDocument(text, { prettyErrors: false, logLevel: 'error', customTags: (tags) => [groupedInt, ...tags] });
  if (document.errors.length > 0) throw new TypeError(oneLine(document.errors[0]!.message));
  return document.toJS({ maxAliasCount: 100 });
}

/** YAML 1.2 has lost the `1_000` that 1.1 had, and nobody can count zeros. */
const groupedInt = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^[-+]?[0-9]+(?:_[0-9]+)+$/,
  resolve: (text: string) => Number(text.replaceAll('_', '')),
} as const;

function readText(file: string, problems: Problem[]): string | undefined {
  try {
    const stat = statSync(file);
    if (!stat.isFile()) return void report(problems, file, 'must be a file');
    if (stat.size > MAX_BYTES) return void report(problems, file, `must be at most ${MAX_BYTES} bytes; it has ${stat.size}`);
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') report(problems, file, 'does not exist');
    else if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') report(problems, file, 'must be UTF-8 text; save it as such');
    else report(problems, file, `cannot be read (${code}); check its permissions`);
    return undefined;
  }
}

function toTree(document: Document, file: string, problems: Problem[]): Tree | undefined {
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    return void report(problems, file, oneLine((error as Error).message));
  }
  if (value === null || value === undefined) return {};
  if (!isTree(value)) return void report(problems, file, 'must hold a map of settings, e.g. "http: { listen: 127.0.0.1:8080 }"');
  if (holdsItself(value)) return void report(problems, file, 'must not have an anchor that holds its own alias');
  const bad = badKeys(value);
  for (const path of bad) problems.push({ severity: 'error', path: path.join('.'), source: file, expected: 'a key is a letter followed by letters, digits, hyphens and dots' });
  return bad.length > 0 ? undefined : value;
}

function holdsItself(value: unknown, above: readonly object[] = []): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return above.includes(value) || Object.values(value).some((inner) => holdsItself(inner, [...above, value]));
}

/** Keys that are no names, `__proto__` among them. */
function badKeys(tree: object, path: readonly string[] = []): string[][] {
  return Object.entries(tree).flatMap(([key, value]) => {
    const here = [...path, key];
    if (!Array.isArray(tree) && !KEY.test(key)) return [here];
    return typeof value === 'object' && value !== null ? badKeys(value as object, here) : [];
  });
}

function lineOf(document: Document, lines: LineCounter, path: readonly string[]): number | undefined {
  const parent = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1).map(indexOrKey), true);
  const pair = isMap(parent) ? parent.items.find((item) => (item.key as Scalar | null)?.value === path.at(-1)) : undefined;
  const node = (pair?.key ?? document.getIn(path.map(indexOrKey), true)) as { range?: [number, number, number] | null } | undefined;
  return node?.range ? lines.linePos(node.range[0]).line : undefined;
}

function indexOrKey(key: string): string | number {
  return /^\d+$/.test(key) ? Number(key) : key;
}

function oneLine(message: string): string {
  return message.split('\n')[0]!.replace(/:$/, '');
}

function report(problems: Problem[], source: string, expected: string): undefined {
  problems.push({ severity: 'error', path: '', source, expected });
  return undefined;
}
