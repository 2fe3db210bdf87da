/** A configuration before it is checked: what YAML can say. */
export type Value = null | boolean | number | string | readonly Value[] | Tree;
export interface Tree {
  readonly [key: string]: Value;
}

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * One configuration on top of another. Maps are joined key by key, anything else replaces what was there, and `null`
 * takes a key away. A section that names another `driver` replaces the whole section: the old driver's settings mean
 * nothing to the new one.
 */
export function overlay(base: Tree, top: Tree): Tree {
  const result: Record<string, Value> = { ...base };
  for (const [key, value] of Object.entries(top)) {
    const below = Object.hasOwn(base, key) ? base[key] : undefined;
    if (value === null) delete result[key];
    else if (isTree(value)) result[key] = isTree(below) && !changesDriver(below, value) ? overlay(below, value) : overlay({}, value);
    else result[key] = value;
  }
  return result;
}

function changesDriver(below: Tree, top: Tree): boolean {
  return top.driver !== undefined && below.driver !== undefined && top.driver !== below.driver;
}

/** What stands at a path; undefined when nothing does. */
export function valueAt(tree: Value | undefined, path: readonly string[]): Value | undefined {
  let at: Value | undefined = tree;
  for (const key of path) {
    if (Array.isArray(at)) at = at[Number(key)];
    else if (isTree(at) && Object.hasOwn(at, key)) at = at[key];
    else return undefined;
  }
  return at;
}

/** A tree that holds one value. */
export function treeWith(path: readonly string[], value: Value): Tree {
  const [key, ...rest] = path;
  return { [key!]: rest.length === 0 ? value : treeWith(rest, value) };
}

/** The same tree with each value replaced by what `change` makes of it; `undefined` keeps it and looks inside. */
export function mapTree(value: Value, change: (value: Value, path: readonly string[]) => Value | undefined, path: readonly string[] = []): Value {
  const changed = change(value, path);
  if (changed !== undefined) return changed;
  if (Array.isArray(value)) return value.map((item: Value, index) => mapTree(item, change, [...path, String(index)]));
  if (isTree(value)) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapTree(item, change, [...path, key])]));
  return value;
}
