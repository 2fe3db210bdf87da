import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { test } from 'node:test';
import { SIZES, violationsIn } from './rules.ts';
import { readTree } from './tree.ts';

const root = join(import.meta.dirname, '..', '..', '..');
const files = readTree(root);

test('the tree keeps to the design', () => {
  assert.ok(files.has('src/kernel/contract.ts'), 'the tree was read');
  const lines = violationsIn(files).map(({ rule, file, line, message }) => `${file}:${line} [${rule}] ${message}`);
  assert.deepEqual(lines, [], `${lines.length} violations:\n${lines.join('\n')}\n`);
});

test('the program imports only what is installed in production', () => {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: Record<string, string> };
  const missing = [...files.values()].flatMap((file) =>
    file.imports
      .filter(({ specifier }) => specifier !== null && /^[@a-z]/.test(specifier) && !specifier.startsWith('node:'))
      .filter(({ specifier }) => !Object.keys(dependencies).some((name) => specifier === name || specifier!.startsWith(`${name}/`)))
      .map(({ specifier, line }) => `${file.path}:${line} ${specifier}`),
  );
  assert.deepEqual(missing, []);
});

test('one process that keeps to itself loads no transport, no server\'s client, and nothing for mails that it does not make yet', () => {
  const loaded = new Set<string>();
  const visit = (path: string): void => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const { specifier, form } of files.get(path)?.imports ?? []) {
      if (form === 'static' && specifier !== null) visit(specifier.startsWith('.') ? posix.join(path, '..', specifier) : specifier);
    }
  };
  visit('src/cli/start.ts');
  assert.ok(loaded.has('adapters/cache/redis/driver.ts') && loaded.has('kysely'), 'the tree was followed');
  const libraries = [...loaded].filter((path) => /^[@a-z]/.test(path)).map((path) => path.split('/')[0]!);
  for (const library of ['undici', 'ioredis', 'memjs', 'msgpackr', 'cockatiel', 'pg', 'node-zookeeper-client', 'stompit', 'nodemailer', 'postal-mime', 'liquidjs', 'mjml', 'aws4fetch']) assert.ok(!libraries.includes(library), `${library} is loaded at every start; import what needs it when it is needed`);
});

test('packages that the build makes one file of are imported by their names alone', () => {
  const list = /const packages = \[(.+)\]/.exec(readFileSync(join(root, 'scripts', 'bundle.mjs'), 'utf8'))![1]!;
  const bundled = [...list.matchAll(/'([^']+)'/g)].map(([, name]) => name!);
  assert.ok(bundled.includes('kysely'), 'the list was read');
  const below = [...files.values()].flatMap((file) => file.imports.filter(({ specifier }) => bundled.some((name) => specifier?.startsWith(`${name}/`))).map(({ specifier, line }) => `${file.path}:${line} ${specifier}`));
  assert.deepEqual(below, []);
});

test('the size of files', (t) => {
  const sizes = [...files.values()].map(({ path, lines }) => ({ path, lines })).sort((a, b) => b.lines - a.lines);
  const middle = sizes[Math.floor(sizes.length / 2)]!;
  t.diagnostic(`${sizes.length} files, median ${middle.lines} lines`);
  for (const { path, lines } of sizes) if (lines > SIZES.reportFrom) t.diagnostic(`${lines} lines: ${path}`);
});
