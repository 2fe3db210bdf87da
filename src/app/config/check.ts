import type { z } from 'zod';
import { mustBe } from '../../kernel/wording.ts';
import { sourceOf, type Layer } from './layers.ts';
import type { Problem } from './problem.ts';
import type { Secrets } from './secrets.ts';
import { didYouMean } from './suggest.ts';
import { valueAt, type Value } from './tree.ts';

/** What checking one section needs to name the place and the value of each problem. */
export interface Checking {
  readonly layers: readonly Layer[];
  readonly secrets: Secrets;
  readonly problems: Problem[];
}

/** Parses a section against its schema. Undefined, with problems noted, when it does not fit. */
export function check<T>(schema: z.ZodType<T>, value: unknown, path: readonly string[], checking: Checking): T | undefined {
  const result = schema.safeParse(value, { reportInput: false, error: mustBe });
  if (result.success) return result.data;
  for (const issue of result.error.issues) for (const leaf of leavesOf(issue)) note(leaf, schema, value, path, checking);
  return undefined;
}

/** Notes a problem with one setting, with what stands there. */
export function reject(path: readonly string[], expected: string, checking: Checking): void {
  const value = valueAt(checking.secrets.tree, path);
  rejectUnseen(path, expected, checking, value === undefined ? undefined : checking.secrets.show(path, value));
}

/** Notes that a setting is missing, with where its section stands. */
export function rejectMissing(path: readonly string[], expected: string, checking: Checking): void {
  const source = sourceOf(checking.layers, path.slice(0, -1))?.name;
  checking.problems.push({ severity: 'error', path: path.join('.'), ...(source !== undefined && { source }), expected: `is needed${expected}` });
}

/** The same where the value may be a secret under a name that does not tell. */
function rejectUnseen(path: readonly string[], expected: string, { layers, problems }: Checking, found?: string): void {
  const source = sourceOf(layers, path)?.name;
  problems.push({ severity: 'error', path: path.join('.'), ...(source !== undefined && { source }), ...(found !== undefined && { found }), expected });
}

type Issue = z.core.$ZodIssue;

/** A union's own issue says only that nothing fitted; the issues of the option that came furthest say what to do. */
function leavesOf(issue: Issue): Issue[] {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [issue];
  const depth = (issues: readonly Issue[]) => Math.max(...issues.map((one) => one.path.length));
  const best = issue.errors.toSorted((a, b) => depth(b) - depth(a) || a.length - b.length)[0]!;
  if (issue.errors.filter((issues) => depth(issues) === depth(best)).length > 1 && depth(best) === 0) return [issue];
  return best.flatMap((inner) => leavesOf({ ...inner, path: [...issue.path, ...inner.path] }));
}

function note(issue: Issue, schema: z.ZodType, value: unknown, base: readonly string[], checking: Checking): void {
  const inner = issue.path.map(String);
  const path = [...base, ...inner];
  if (checking.secrets.missing.has(path.join('.'))) return;
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, inner);
    for (const key of issue.keys) rejectUnseen([...path, key], `no such setting.${didYouMean(key, known) || (known.length > 0 ? ` There are: ${known.join(', ')}.` : '')}`, checking);
    return;
  }
  const isSection = issue.code === 'invalid_type' && (issue.expected === 'object' || issue.expected === 'record');
  const isMissing = valueAt(value as Value, inner) === undefined;
  (isSection ? rejectUnseen : reject)(path, isMissing ? `is needed: ${issue.message}` : issue.message, checking);
}

interface Definition {
  readonly type: string;
  readonly shape?: Readonly<Record<string, unknown>>;
  readonly innerType?: unknown;
  readonly in?: unknown;
  readonly valueType?: unknown;
  readonly element?: unknown;
  readonly options?: readonly unknown[];
}

/** The settings that a schema knows at a path. */
export function keysAt(schema: unknown, path: readonly string[]): string[] {
  const def = (schema as { _zod?: { def: Definition } } | undefined)?._zod?.def;
  if (def === undefined) return [];
  if (def.innerType !== undefined) return keysAt(def.innerType, path);
  if (def.in !== undefined) return keysAt(def.in, path);
  if (def.options !== undefined) return [...new Set(def.options.flatMap((option) => keysAt(option, path)))];
  const [key, ...rest] = path;
  if (key === undefined) return Object.keys(def.shape ?? {});
  return keysAt(def.shape?.[key] ?? def.valueType ?? def.element, rest);
}
