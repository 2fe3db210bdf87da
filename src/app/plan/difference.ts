import { isTree, type Value } from '../config/tree.ts';
import type { Plan } from './plan.ts';

/** One thing that a change of topology does. */
export interface Change {
  readonly kind: 'module' | 'call' | 'storage' | 'setting';
  readonly what: string;
  readonly from: string | null;
  readonly to: string | null;
  /** What whoever makes the change must do or know. */
  readonly means?: string;
}

/** What goes from one plan to the other changes, in the order of its weight. */
export function differenceOf(before: Plan, after: Plan): Change[] {
  return [...movedModules(before, after), ...changedCalls(before, after), ...changedStorages(before, after), ...changedSettings(before, after)];
}

function movedModules(before: Plan, after: Plan): Change[] {
  const old = new Map(before.modules.map((module) => [module.name, module]));
  return after.modules
    .filter(({ name, host }) => old.get(name)?.host !== host)
    .map(({ name, host, databases }) => ({ kind: 'module', what: name, from: old.get(name)?.host ?? null, to: host, ...movingOf(old.get(name)?.databases ?? databases) }));
}

/** Where hosts share a data directory (one machine) the files lie where they must; else they go along. */
function movingOf(databases: readonly string[]): Pick<Change, 'means'> {
  if (databases.length === 0) return {};
  const files = [...databases.map((name) => `${name}.sqlite*`), 'installation.json'];
  return { means: `its data goes with it: on another machine, stop it, copy ${files.slice(0, -1).join(', ')} and ${files.at(-1)} to the data directory there (-lock files need not go along), then start` };
}

function changedCalls(before: Plan, after: Plan): Change[] {
  const describe = ({ via, cacheEntries, cacheShared }: Plan['calls'][number]) => (cacheEntries === null ? via : `${via} with a cache of ${cacheEntries}${cacheShared === null ? '' : `, shared in ${cacheShared}`}`);
  const old = new Map(before.calls.map((edge) => [`${edge.from} → ${edge.to}`, describe(edge)]));
  return after.calls
    .map((edge): Change => ({ kind: 'call', what: `${edge.from} → ${edge.to}`, from: old.get(`${edge.from} → ${edge.to}`) ?? null, to: describe(edge) }))
    .filter(({ from, to }) => from !== to);
}

function changedStorages(before: Plan, after: Plan): Change[] {
  const old = new Map(before.modules.map(({ name, storage }) => [name, storage]));
  return after.modules
    .filter(({ name, storage }) => old.has(name) && old.get(name) !== storage)
    .map(({ name, storage }) => ({ kind: 'storage', what: name, from: old.get(name)!, to: storage, means: 'its data must be moved first; the new storage begins empty' }));
}

const SEEN_ELSEWHERE = ['hosts', 'calls'];

function changedSettings(before: Plan, after: Plan): Change[] {
  const [old, now] = [leavesOf(before.settings), leavesOf(after.settings)];
  return [...new Set([...old.keys(), ...now.keys()])]
    .filter((path) => !SEEN_ELSEWHERE.includes(path.split('.')[0]!) && old.get(path) !== now.get(path))
    .map((path) => ({
      kind: 'setting',
      what: path,
      from: old.get(path) ?? null,
      to: now.get(path) ?? null,
      ...(path === 'data' && { means: 'what lies in the old folder stays there' }),
      ...(path === 'bus.host' && { means: 'the messages go with it: on another machine, copy bus.sqlite* to the data directory there while all hosts are stopped' }),
      ...(path === 'bus.driver' && { means: 'messages still in the old bus stay there; "multilith bus move" takes them along' }),
      ...(path === 'bus.directory' && { means: 'messages in the old folder stay there; "multilith bus move" takes them along' }),
    }));
}

function leavesOf(value: Value, path: readonly string[] = []): Map<string, string> {
  if (!isTree(value)) return new Map([[path.join('.'), JSON.stringify(value)]]);
  return new Map(Object.entries(value).filter(([, inner]) => inner !== undefined).flatMap(([key, inner]) => [...leavesOf(inner, [...path, key])]));
}
