import { resolve } from 'node:path';
import { readSecretFile } from './environment.ts';
import { sourceOf, type Layer } from './layers.ts';
import type { Problem } from './problem.ts';
import { isTree, mapTree, type Tree, type Value } from './tree.ts';

export const REDACTED = '[redacted]';
/** Names of settings whose values are never shown, wherever they come from. */
const SECRET_NAME = /pass(word|phrase)?$|secret|token|credential|private|api_?key|^key$/i;

export interface Secrets {
  /** Paths of secrets that could not be fetched, each a problem already. Empty text stands there instead. */
  readonly missing: ReadonlySet<string>;
  /** The tree with each `{ fromEnv: NAME }` and `{ fromFile: path }` replaced by what it stands for. */
  readonly tree: Tree;
  /** What may be shown of a value: text of at most 80 characters. */
  show(path: readonly string[], value: unknown): string;
  /** The same tree, fit for showing. */
  redact(value: Value, path?: readonly string[]): Value;
}

/** Fetches the secrets that a configuration names. One that is missing is a problem; its setting is empty. */
export function resolveSecrets(tree: Tree, layers: readonly Layer[], env: NodeJS.ProcessEnv, problems: Problem[]): Secrets {
  const secretPaths = new Set<string>();
  const secretValues = new Set<string>();
  const missing = new Set<string>();
  const resolved = mapTree(tree, (value, path) => {
    const reference = referenceIn(value);
    if (reference === undefined) return undefined;
    secretPaths.add(path.join('.'));
    const origin = sourceOf(layers, path);
    const found = reference.kind === 'fromEnv' ? env[reference.name] || { problem: `the variable ${reference.name} must be set in the environment` } : readSecretFile(resolve(origin?.layer.folder ?? '.', reference.name));
    if (typeof found === 'string') {
      secretValues.add(found);
      return found;
    }
    missing.add(path.join('.'));
    problems.push({ severity: 'error', path: path.join('.'), ...(origin && { source: origin.name }), expected: found.problem });
    return '';
  });
  const isSecret = (path: readonly string[]) => secretPaths.has(path.join('.')) || path.some((key) => SECRET_NAME.test(key));
  const redact = (value: Value, path: readonly string[] = []): Value =>
    mapTree(value, (inner, at) => {
      if (isSecret(at) || (typeof inner === 'string' && secretValues.has(inner))) return REDACTED;
      return typeof inner === 'string' ? withoutPassword(inner) : undefined;
    }, path);
  return { tree: resolved as Tree, missing, redact, show: (path, value) => shorten(JSON.stringify(redact((value ?? null) as Value, path))) };
}

function referenceIn(value: Value): { kind: 'fromEnv' | 'fromFile'; name: string } | undefined {
  if (!isTree(value)) return undefined;
  const [entry, ...more] = Object.entries(value);
  if (entry === undefined || more.length > 0 || typeof entry[1] !== 'string') return undefined;
  return entry[0] === 'fromEnv' || entry[0] === 'fromFile' ? { kind: entry[0], name: entry[1] } : undefined;
}

/** `smtp://me:secret@host` without what stands between the colon and the at. */
function withoutPassword(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, `$1${REDACTED}@`);
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
