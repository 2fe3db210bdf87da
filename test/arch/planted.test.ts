import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { violationsIn, type Violation } from './rules.ts';
import { readTree } from './tree.ts';

let root: string;
before(() => (root = mkdtempSync(join(tmpdir(), 'multilith-arch-'))));
after(() => rmSync(root, { recursive: true, force: true }));

/** What stands in the tree beside the file under test, so that a planted import is wrong for one reason only. */
const INNOCENT: Readonly<Record<string, string>> = {
  'src/kernel/ids.ts': "import { createHash } from 'node:crypto';\nimport { z } from 'zod';\nexport const ids = [createHash, z];\n",
  'src/ports/storage.ts': "import type { Kysely } from 'kysely';\nimport { ids } from '../kernel/ids.ts';\nexport type A = Kysely<typeof ids>;\n",
  'src/fabric/inline.ts': "import { ids } from '../kernel/ids.ts';\nimport type { A } from '../ports/storage.ts';\nexport const inline: A | typeof ids = ids;\n",
  'src/app/modules.ts': "import { one } from '../../modules/one/module.ts';\nimport pino from 'pino';\nexport const all = [one, pino, process.env.HOME];\n",
  'src/cli/start.ts': "import { all } from '../app/modules.ts';\nexport const start = () => import('../app/modules.ts').then(() => all);\n",
  'src/main.ts': "import { start } from './cli/start.ts';\nawait start();\n",
  'modules/one/contract.ts': "import { ids } from '../../src/kernel/ids.ts';\nexport const one = ids;\n",
  'modules/one/module.ts': "import { two } from '../two/contract.ts';\nimport { store } from './store.ts';\nexport const one = [two, store];\n",
  'modules/one/store.ts': "import { sql } from 'kysely';\nexport const store = sql;\n",
  'modules/two/contract.ts': 'export const two = 2;\n',
  'modules/two/module.ts': "import { two } from './contract.ts';\nexport const module = two;\n",
  'modules/two/domain.ts': 'export const secret = 2;\n',
  'adapters/storage/catalog.ts': "import { sqlite } from './sqlite/storage.ts';\nexport const storages = { sqlite };\n",
  'adapters/storage/sqlite/storage.ts': "import { DatabaseSync } from 'node:sqlite';\nimport { fifo } from '../shared/fifo.ts';\nexport const sqlite = [fifo, DatabaseSync, new URL('./worker.js', import.meta.url)];\n",
  'adapters/storage/shared/fifo.ts': "import { ids } from '../../../src/kernel/ids.ts';\nexport const fifo = ids;\n",
  'adapters/storage/sqlite/worker.ts': 'export const worker = 1;\n',
  'adapters/bus/embedded/bus.ts': 'export const bus = 1;\n',
};

function check(planted: Readonly<Record<string, string>>): Violation[] {
  const folder = mkdtempSync(join(root, 'tree-'));
  for (const [path, source] of Object.entries({ ...INNOCENT, ...planted })) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), source);
  }
  return violationsIn(readTree(folder));
}

test('a tree that keeps to the design has no violation', () => {
  assert.deepEqual(check({}), []);
});

const forms: readonly (readonly [string, string])[] = [
  ['import', "import { secret } from '../two/domain.ts';\nexport const x = secret;\n"],
  ['import of a type', "import type { secret } from '../two/domain.ts';\nexport type X = typeof secret;\n"],
  ['import for its effect', "import '../two/domain.ts';\n"],
  ['default and named import', "import a, { type b } from '../two/domain.ts';\nexport const x: b = a;\n"],
  ['import of everything', "import * as a from '../two/domain.ts';\nexport const x = a;\n"],
  ['export from', "export { secret } from '../two/domain.ts';\n"],
  ['export of everything', "export * from '../two/domain.ts';\n"],
  ['export of a type', "export type { secret } from '../two/domain.ts';\n"],
  ['import()', "export const x = () => import('../two/domain.ts');\n"],
  ['import() with a template', 'export const x = () => import(`../two/domain.ts`);\n'],
  ['type of an import', "export type X = typeof import('../two/domain.ts').secret;\n"],
  ['require', "import { createRequire } from 'node:module';\nexport const x = createRequire(import.meta.url)('x'), y = require('../two/domain.ts');\n"],
  ['import = require', "import a = require('../two/domain.ts');\nexport const x = a;\n"],
  ["a worker's file", "export const x = new URL('../two/domain.js', import.meta.url);\n"],
  ['after a regular expression with quotes', "const r = /['\"`]/;\nexport const x = [r, () => import('../two/domain.ts')];\n"],
  ['inside a template', "export const x = `${await import('../two/domain.ts')}`;\n"],
];
for (const [form, source] of forms) {
  test(`a foreign module's inside is seen by ${form}`, () => {
    const found = check({ 'modules/one/planted.ts': source });
    assert.deepEqual(found.map(({ rule, file }) => [rule, file]), [['import', 'modules/one/planted.ts']]);
  });
}

test('what only looks like an import is none', () => {
  const source = ["// import '../two/domain.ts'", "/* export * from '../two/domain.ts' */", 'export const a = "import \'../two/domain.ts\'";', "export const b = `import '../two/domain.ts'`;", 'export const c = { import: (x: string) => x, require: 1 };', "export const d = c.import('../two/domain.ts');", 'export const from = 1;', 'export const e = 4 / 2 / 1; // import(', ''].join('\n');
  assert.deepEqual(check({ 'modules/one/planted.ts': source }), []);
});

const planted: readonly (readonly [string, Violation['rule'], string, string])[] = [
  ['kernel imports a port', 'import', 'src/kernel/x.ts', "import '../ports/storage.ts';\n"],
  ['kernel imports kysely', 'library', 'src/kernel/x.ts', "import 'kysely';\n"],
  ['a port imports fabric', 'import', 'src/ports/x.ts', "import '../fabric/inline.ts';\n"],
  ['fabric imports an adapter', 'import', 'src/fabric/x.ts', "import '../../adapters/storage/catalog.ts';\n"],
  ['fabric imports a module', 'import', 'src/fabric/x.ts', "import '../../modules/one/contract.ts';\n"],
  ['a contract imports another contract', 'import', 'modules/one/contract.ts', "import '../two/contract.ts';\n"],
  ['a contract imports a port', 'import', 'modules/one/contract.ts', "import '../../src/ports/storage.ts';\n"],
  ['a module imports fabric', 'import', 'modules/one/x.ts', "import '../../src/fabric/inline.ts';\n"],
  ['a module imports app', 'import', 'modules/one/x.ts', "import '../../src/app/modules.ts';\n"],
  ['a module imports an adapter', 'import', 'modules/one/x.ts', "import '../../adapters/storage/sqlite/storage.ts';\n"],
  ['a module imports its own module.ts', 'import', 'modules/one/x.ts', "import './module.ts';\n"],
  ['an adapter imports a module', 'import', 'adapters/bus/embedded/x.ts', "import '../../../modules/one/contract.ts';\n"],
  ['an adapter imports another adapter', 'import', 'adapters/bus/embedded/x.ts', "import '../../storage/sqlite/storage.ts';\n"],
  ['an adapter imports what another kind shares', 'import', 'adapters/bus/embedded/x.ts', "import '../../storage/shared/fifo.ts';\n"],
  ['what adapters share imports one of them', 'import', 'adapters/storage/shared/x.ts', "import '../sqlite/storage.ts';\n"],
  ['what adapters share imports a library of one of them', 'library', 'adapters/storage/shared/x.ts', "import 'node:sqlite';\n"],
  ['a catalog imports another kind', 'import', 'adapters/bus/catalog.ts', "import '../storage/catalog.ts';\n"],
  ['app imports the command line', 'import', 'src/app/x.ts', "import '../cli/start.ts';\n"],
  ['the command line imports a module.ts', 'import', 'src/cli/x.ts', "import '../../modules/one/module.ts';\n"],
  ['the program imports a test', 'import', 'src/app/x.ts', "import '../../test/support/x.ts';\n"],
  ['node:sqlite outside its adapter', 'library', 'adapters/bus/embedded/x.ts', "import 'node:sqlite';\n"],
  ['liquidjs outside notification', 'library', 'modules/one/x.ts', "import 'liquidjs';\n"],
  ['nodemailer outside its adapter', 'library', 'modules/notification/x.ts', "import 'nodemailer/lib/addressparser';\n"],
  ['pino outside app', 'library', 'src/cli/x.ts', "import 'pino';\n"],
  ['a package without an owner', 'library', 'src/app/x.ts', "import 'left-pad';\n"],
  ['a built-in without its prefix', 'library', 'src/app/x.ts', "import 'fs';\n"],
  ['node:process below app', 'library', 'modules/one/x.ts', "import { env } from 'node:process';\n"],
  ['process.env below app', 'environment', 'modules/one/x.ts', 'export const x = process.env.HOME;\n'],
  ['process?.["env"] below app', 'environment', 'src/fabric/x.ts', "export const x = process?.env, y = 1;\n"],
  ["process['env'] below app", 'environment', 'src/kernel/x.ts', "export const x = process['env'];\n"],
  ['a computed import', 'computed', 'src/app/x.ts', "export const x = (name: string) => import(name);\n"],
  ['a file that is not there', 'missing', 'src/app/x.ts', "import './y.ts';\n"],
  ['an import without its extension', 'missing', 'src/app/x.ts', "import './modules';\n"],
  ['a file in no known folder', 'place', 'src/helpers/x.ts', 'export const x = 1;\n'],
  ['a file beside the adapters', 'place', 'adapters/x.ts', 'export const x = 1;\n'],
  ['a long main.ts', 'size', 'src/main.ts', '//\n'.repeat(61)],
  ['a long contract', 'size', 'modules/one/contract.ts', Array.from({ length: 150 }, (_, n) => `export const x${n} = ${n};\n`).join('')],
];
for (const [what, rule, file, source] of planted) {
  test(`${what} is refused`, () => {
    assert.deepEqual(check({ [file]: source }).map((found) => [found.rule, found.file]), [[rule, file]]);
  });
}

test('files that load each other are refused, by type is allowed', () => {
  const cycle = { 'modules/one/a.ts': "import './b.ts';\n", 'modules/one/b.ts': "export * from './c.ts';\n", 'modules/one/c.ts': "import { type x } from './a.ts';\nexport type y = x;\n" };
  assert.deepEqual(check(cycle).map(({ rule }) => rule), ['cycle']);
  assert.deepEqual(check({ ...cycle, 'modules/one/c.ts': "import type { x } from './a.ts';\nexport type y = x;\n" }), []);
});

test('every violation is reported at once, with its line', () => {
  const found = check({ 'modules/one/x.ts': "import 'mjml';\n\nimport '../../src/fabric/inline.ts';\nexport const x = process.env;\n", 'src/kernel/x.ts': "import 'koa';\n" });
  assert.deepEqual(found.map(({ file, line }) => `${file}:${line}`).sort(), ['modules/one/x.ts:1', 'modules/one/x.ts:3', 'modules/one/x.ts:4', 'src/kernel/x.ts:1']);
});
