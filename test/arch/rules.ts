import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import type { Import } from './imports.ts';
import type { SourceFile } from './tree.ts';

export interface Violation {
  readonly rule: 'place' | 'import' | 'library' | 'computed' | 'missing' | 'environment' | 'cycle' | 'size';
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

/** A kind of place in the tree: which paths belong to it and what its files may import, as patterns over paths. */
interface Place {
  readonly name: string;
  readonly path: RegExp;
  /** `$1`, `$2` stand for what the path's groups matched. */
  readonly mayImport: readonly string[];
}

const VOCABULARY = ['src/kernel/', 'src/ports/'];

/** The first place whose path matches is the file's; one that matches none is out of place. */
const PLACES: readonly Place[] = [
  { name: 'src/kernel', path: /^src\/kernel\//, mayImport: ['src/kernel/'] },
  { name: 'src/ports', path: /^src\/ports\//, mayImport: VOCABULARY },
  { name: 'src/fabric', path: /^src\/fabric\//, mayImport: [...VOCABULARY, 'src/fabric/'] },
  { name: 'src/app', path: /^src\/app\//, mayImport: [...VOCABULARY, 'src/fabric/', 'src/app/', 'modules/', 'adapters/'] },
  { name: 'src/cli', path: /^src\/(cli\/|main\.ts$)/, mayImport: [...VOCABULARY, 'src/fabric/', 'src/app/', 'src/cli/', 'modules/[^/]+/contract.ts$', 'adapters/'] },
  { name: 'a contract', path: /^modules\/[^/]+\/contract\.ts$/, mayImport: ['src/kernel/'] },
  { name: 'a module', path: /^modules\/([^/]+)\//, mayImport: [...VOCABULARY, 'modules/$1/', 'modules/[^/]+/contract.ts$'] },
  { name: 'a catalog', path: /^adapters\/([^/]+)\/catalog\.ts$/, mayImport: [...VOCABULARY, 'adapters/$1/'] },
  { name: 'what adapters of a kind share', path: /^adapters\/([^/]+)\/shared\//, mayImport: [...VOCABULARY, 'adapters/$1/shared/'] },
  { name: 'an adapter', path: /^adapters\/([^/]+)\/([^/]+)\//, mayImport: [...VOCABULARY, 'adapters/$1/$2/', 'adapters/$1/shared/'] },
];

const ROOT = ['src/app/', 'src/cli/', 'src/main.ts'];

/** Who may use which package. One that is not listed belongs to nobody. */
const LIBRARIES: Readonly<Record<string, readonly string[]>> = {
  zod: ['src/kernel/', 'src/fabric/', 'src/app/', 'src/cli/', 'modules/', 'adapters/'],
  // The language of the storage port, spoken by whoever has a database behind it.
  kysely: ['src/ports/storage.ts', 'src/fabric/', 'modules/', 'adapters/'],
  cockatiel: ['src/fabric/'],
  inversify: ['src/app/', 'src/fabric/', 'modules/'],
  'reflect-metadata': ['src/app/', 'src/main.ts'],
  yaml: ['src/app/'],
  pino: ['src/app/'],
  'prom-client': ['src/app/'],
  koa: ['modules/portal/'],
  '@koa/router': ['modules/portal/'],
  croner: ['modules/trigger/'],
  liquidjs: ['modules/notification/'],
  mjml: ['modules/notification/'],
  'postal-mime': ['modules/notification/'],
  nodemailer: ['adapters/channel/smtp/'],
  msgpackr: ['adapters/transport/rpc/'],
  undici: ['adapters/transport/http/'],
  '@opentelemetry/api': ['src/fabric/', 'src/app/'],
  'lru-cache': ['adapters/cache/lru/'],
  memjs: ['adapters/cache/memcached/'],
  ioredis: ['adapters/cache/redis/'],
  'node:sqlite': ['adapters/storage/sqlite/'],
  pg: ['adapters/storage/postgres/'],
  'node-zookeeper-client': ['adapters/registry/zookeeper/'],
  stompit: ['adapters/bus/activemq/'],
  aws4fetch: ['adapters/blob/s3/'],
};

/** Where the environment may be read: everything below gets what it needs as an argument. */
const ENVIRONMENT = ROOT;

export const SIZES = { mainLines: 60, contractCodeLines: 150, reportFrom: 300 };

/** Everything that is wrong with the tree, all at once. */
export function violationsIn(files: ReadonlyMap<string, SourceFile>): Violation[] {
  const found: Violation[] = [];
  for (const file of files.values()) {
    found.push(...checkPlace(file), ...checkEnvironment(file), ...checkSize(file));
    for (const one of file.imports) found.push(...checkImport(file, one, files));
  }
  return [...found, ...checkCycles(files)];
}

function checkPlace({ path }: SourceFile): Violation[] {
  if (placeOf(path)) return [];
  return [{ rule: 'place', file: path, line: 1, message: `lies in no folder that the design knows (${PLACES.map((place) => place.name).join(', ')})` }];
}

function placeOf(path: string): { name: string; mayImport: RegExp[] } | undefined {
  for (const place of PLACES) {
    const match = place.path.exec(path);
    if (match) return { name: place.name, mayImport: place.mayImport.map((pattern) => new RegExp(`^${pattern.replace(/\$(\d)/g, (_, group) => match[Number(group)]!)}`)) };
  }
  return undefined;
}

function checkImport(file: SourceFile, one: Import, files: ReadonlyMap<string, SourceFile>): Violation[] {
  const { specifier, line } = one;
  const violation = (rule: Violation['rule'], message: string): Violation[] => [{ rule, file: file.path, line, message }];
  if (specifier === null) return violation('computed', 'imports what nobody can tell before it runs');
  if (!specifier.startsWith('.')) return checkLibrary(file, specifier, line);
  const target = targetOf(file, one);
  const place = placeOf(file.path);
  if (place && !place.mayImport.some((pattern) => pattern.test(target))) return violation('import', `${place.name} may not import ${target}`);
  if (/^modules\/[^/]+\/module\.ts$/.test(target) && !file.path.startsWith('src/app/')) return violation('import', `only src/app imports ${target}`);
  if (!files.has(target)) return violation('missing', `imports ${target}, which does not exist (relative imports carry their extension)`);
  return [];
}

/** The compiler rewrites the extension of an import; a worker's URL it leaves alone, so that one names the output. */
function targetOf(file: SourceFile, { specifier, form }: Import): string {
  const path = posix.join(posix.dirname(file.path), specifier!);
  return form === 'worker' ? path.replace(/\.js$/, '.ts') : path;
}

function checkLibrary(file: SourceFile, specifier: string, line: number): Violation[] {
  const violation = (message: string): Violation[] => [{ rule: 'library', file: file.path, line, message }];
  const owners = LIBRARIES[packageOf(specifier)];
  if (owners) return startsWithAny(file.path, owners) ? [] : violation(`${specifier} belongs to ${owners.join(', ')}`);
  if (!isBuiltin(specifier)) return violation(`${specifier} belongs to nobody; name its owner in LIBRARIES`);
  if (!specifier.startsWith('node:')) return violation(`write node:${specifier}`);
  if (specifier === 'node:process' && !startsWithAny(file.path, ENVIRONMENT)) return violation('node:process is for the composition root');
  return [];
}

function packageOf(specifier: string): string {
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]!;
}

function checkEnvironment(file: SourceFile): Violation[] {
  if (startsWithAny(file.path, ENVIRONMENT)) return [];
  const reads = file.tokens.filter(
    ({ text }, at) => text === 'process' && (['.', '?.'].includes(file.tokens[at + 1]?.text ?? '') ? file.tokens[at + 2]?.text === 'env' : file.tokens[at + 1]?.text === '[' && file.tokens[at + 2]?.text === 'env'),
  );
  return reads.map(({ line }) => ({ rule: 'environment', file: file.path, line, message: `reads process.env; only ${ENVIRONMENT.join(', ')} may` }));
}

function checkSize({ path, lines, codeLines }: SourceFile): Violation[] {
  const violation = (message: string): Violation[] => [{ rule: 'size', file: path, line: 1, message }];
  if (path === 'src/main.ts' && lines > SIZES.mainLines) return violation(`has ${lines} lines; ${SIZES.mainLines} at most`);
  if (/^modules\/[^/]+\/contract\.ts$/.test(path) && codeLines >= SIZES.contractCodeLines) return violation(`has ${codeLines} lines of code; a contract has fewer than ${SIZES.contractCodeLines}`);
  return [];
}

/** Files that wait for each other while loading (Tarjan's strongly connected components over static imports). */
function checkCycles(files: ReadonlyMap<string, SourceFile>): Violation[] {
  const found: Violation[] = [];
  const numbers = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const visit = (path: string): number => {
    numbers.set(path, numbers.size);
    lowest.set(path, numbers.get(path)!);
    stack.push(path);
    for (const next of loadedBy(files.get(path)!, files)) {
      if (!numbers.has(next)) lowest.set(path, Math.min(lowest.get(path)!, visit(next)));
      else if (stack.includes(next)) lowest.set(path, Math.min(lowest.get(path)!, numbers.get(next)!));
    }
    if (lowest.get(path) === numbers.get(path)) {
      const group = stack.splice(stack.indexOf(path));
      if (group.length > 1 || loadedBy(files.get(path)!, files).includes(path)) found.push({ rule: 'cycle', file: path, line: 1, message: `${group.toSorted().join(' and ')} import each other` });
    }
    return lowest.get(path)!;
  };
  for (const path of files.keys()) if (!numbers.has(path)) visit(path);
  return found;
}

function loadedBy(file: SourceFile, files: ReadonlyMap<string, SourceFile>): string[] {
  return file.imports.flatMap(({ form, specifier }) => {
    if (form !== 'static' || !specifier?.startsWith('.')) return [];
    const target = posix.join(posix.dirname(file.path), specifier);
    return files.has(target) ? [target] : [];
  });
}

function startsWithAny(path: string, prefixes: readonly string[]): boolean {
  return prefixes.some((prefix) => path.startsWith(prefix));
}
