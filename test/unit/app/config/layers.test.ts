import assert from 'node:assert/strict';
import { chmodSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { overlay } from '../../../../src/app/config/tree.ts';
import { readConfig } from '../../../../src/app/config/config.ts';
import { folderWith, parts, placesOf, read } from './fixture.ts';

test('a topology extends another by name; what it says wins, key by key', () => {
  const { config } = read({ yaml: { 'main.yaml': 'extends: base\nhttp: { listen: 127.0.0.1:9001 }\n', 'base.yaml': 'http: { listen: 127.0.0.1:9000, maxConnections: 5 }\nlog: { level: warn }\n' } });
  assert.deepEqual([config!.http.listen.port, config!.http.maxConnections, config!.log.level], [9001, 5, 'warn']);
});

test('a problem names the file that the value comes from', () => {
  const { problems } = read({ yaml: { 'main.yaml': 'extends: ./base.yaml\n', 'base.yaml': '\n\nlog: { level: loud }\n' } });
  assert.deepEqual(problems.map(({ source }) => source), ['base.yaml:3']);
});

test('another driver replaces the whole section, the same one is added to', () => {
  const base = { email: { driver: 'smtp', host: 'a', port: 1 } };
  assert.deepEqual(overlay(base, { email: { driver: 'outbox' } }), { email: { driver: 'outbox' } });
  assert.deepEqual(overlay(base, { email: { driver: 'smtp', port: 2 } }), { email: { driver: 'smtp', host: 'a', port: 2 } });
});

test('null takes a key away, a list replaces a list', () => {
  assert.deepEqual(overlay({ a: { b: 1, c: [1, 2] } }, { a: { b: null, c: [3] } }), { a: { c: [3] } });
});

test('files, then the environment, then --set', () => {
  const yaml = 'http: { listen: 127.0.0.1:1 }\ndata: /from/file\nlog: { level: warn }\n';
  const { config } = read({ yaml, env: { MULTILITH_HTTP_LISTEN: '127.0.0.1:2', MULTILITH_DATA: '/from/env' }, sets: ['http.listen=127.0.0.1:3'] });
  assert.deepEqual([config!.http.listen.port, config!.dataDir, config!.log.level], [3, '/from/env', 'warn']);
});

test('--set takes YAML values', () => {
  const { config } = read({ sets: ['http.maxConnections=50_000', 'hosts.app.modules=[trigger, portal, notification]', 'channels.email={ driver: outbox, keepDays: 3 }'] });
  assert.equal(config!.http.maxConnections, 50_000);
  assert.equal(config!.hosts.app!.modules[0], 'trigger');
  assert.deepEqual(config!.channels.email!.settings, { keepDays: 3 });
});

for (const set of ['http.listen', '=3', '__proto__.x=1', 'a.__proto__.x=1', 'a={', 'constructor.prototype=1']) {
  test(`--set ${set} is refused`, () => {
    assert.ok(read({ sets: [set] }).problems.length > 0);
    assert.equal(({} as { x?: number }).x, undefined);
  });
}

test('a chain of extends that leads back is shown whole', () => {
  const { problems } = read({ yaml: { 'main.yaml': 'extends: a\n', 'a.yaml': 'extends: b\n', 'b.yaml': 'extends: a\n' } });
  assert.deepEqual(problems.map(({ path }) => path), ['extends']);
  assert.match(problems[0]!.expected, /: main\.yaml → a\.yaml → b\.yaml → a\.yaml$/);
});

test('a file may not extend itself by another name', () => {
  const cwd = folderWith({ 'main.yaml': 'extends: same\n' });
  symlinkSync(join(cwd, 'main.yaml'), join(cwd, 'same.yaml'));
  assert.deepEqual(readConfig({ topology: 'main', env: {}, cwd }, parts).problems.map(({ path }) => path), ['extends']);
});

const broken: readonly (readonly [string, string | Uint8Array, string])[] = [
  ['a duplicate key', 'data: a\ndata: b\n', ' @ main.yaml:2'],
  ['a duplicate key further down', 'http:\n  listen: 127.0.0.1:1\n  listen: 127.0.0.1:2\n', ' @ main.yaml:3'],
  ['broken YAML', 'http: {\n', ' @ main.yaml:2'],
  ['a list', '- a\n', ' @ main.yaml'],
  ['a base that is not there', 'extends: nowhere\n', 'extends @ main.yaml:1'],
  ['a base that is no name', 'extends: [a]\n', 'extends @ main.yaml:1'],
  ['a key that is __proto__', '__proto__: { x: 1 }\n', '__proto__ @ main.yaml'],
  ['a key deep down that is __proto__', 'modules: { portal: { __proto__: { x: 1 } } }\n', 'modules.portal.__proto__ @ main.yaml'],
  ['UTF-16', Buffer.from('\ufeffdata: x\n', 'utf16le'), ' @ main.yaml'],
  ['Latin-1', Buffer.from('data: M\xfcller\n', 'latin1'), ' @ main.yaml'],
  ['too much', `data: ${'x'.repeat(300_000)}\n`, ' @ main.yaml'],
  ['a bomb of aliases', ['a: &a [x,x,x,x,x,x,x,x,x]', ...'bcdefgh'.split('').map((n, i) => `${n}: &${n} [${Array(9).fill(`*${'abcdefg'[i]}`).join(',')}]`)].join('\n'), ' @ main.yaml'],
];
for (const [what, content, place] of broken) {
  test(`${what} is refused, by file and line`, () => {
    const result = read({ yaml: { 'main.yaml': content } });
    assert.equal(result.config, undefined);
    assert.deepEqual(placesOf(result).map((one) => one.replace(result.folder + '/', '')), [place]);
  });
}

test('a byte order mark is no problem, nor are 50_000 and a folded text', () => {
  const { config, problems } = read({ yaml: '\ufeffhttp: { maxConnections: 50_000 }\ndata: "1_000"\n' });
  assert.deepEqual(problems, []);
  assert.equal(config!.http.maxConnections, 50_000);
  assert.match(config!.dataDir, /1_000$/);
});

test('a file that is not there, a folder, and one that may not be read', () => {
  assert.deepEqual(placesOf(read({ topology: 'nowhere' })), [' @ --topology']);
  const cwd = folderWith({ 'main.yaml': '' });
  assert.equal(readConfig({ topology: cwd, env: {}, cwd }, parts).config, undefined);
  chmodSync(join(cwd, 'main.yaml'), 0);
  if (process.getuid?.() !== 0) assert.equal(readConfig({ topology: 'main', env: {}, cwd }, parts).config, undefined);
});

test('an anchor that holds itself is a problem, one that is used twice is none', () => {
  assert.deepEqual(read({ yaml: 'data: &a [*a]\n' }).problems.map(({ expected }) => expected), ['must not have an anchor that holds its own alias']);
  assert.deepEqual(read({ yaml: 'storage: { portal: &s { driver: sqlite }, trigger: *s }\n' }).problems, []);
});

test('a base that is not there is told of with the places where it was looked for', () => {
  const { problems, folder } = read({ yaml: 'extends: nowhere\n' });
  assert.equal(problems.length, 1);
  assert.ok(problems[0]!.expected.startsWith(`does not exist; looked for ${join(folder, 'nowhere.yaml')}, ${join(folder, 'nowhere.yml')}, `), problems[0]!.expected);
});
