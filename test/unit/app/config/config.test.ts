import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { ConfigError, formatProblems } from '../../../../src/app/config/problem.ts';
import { requireConfig } from '../../../../src/app/config/config.ts';
import { folderWith, parts, placesOf, read } from './fixture.ts';

test('an empty file is one process with everything embedded', () => {
  const { config, problems, folder } = read({ yaml: '' });
  assert.deepEqual(problems, []);
  assert.equal(config!.dataDir, join(folder, 'data'));
  assert.deepEqual(config!.http.listen, { host: '127.0.0.1', port: 8080 });
  assert.equal(config!.publicUrl, 'http://127.0.0.1:8080');
  assert.deepEqual(config!.hosts.app!.modules, ['portal', 'trigger', 'notification']);
  assert.deepEqual(Object.values(config!.storage).map(({ driver }) => driver), ['sqlite', 'sqlite', 'sqlite']);
  assert.equal(config!.bus.driver, 'embedded');
  assert.deepEqual(config!.channels.email, { driver: 'outbox', settings: { keepDays: 30 } });
  assert.deepEqual(config!.modules.portal, { sessionDays: 30 });
});

test('the shipped default says the same', () => {
  const { config, problems } = read({ topology: 'default' });
  assert.deepEqual(problems, []);
  const { shown: _, topology: __, dataDir: ___, ...shipped } = config!;
  const { shown: _a, topology: _b, dataDir: _c, ...empty } = read({}).config!;
  assert.deepEqual(shipped, empty);
});

test('every problem is reported at once, with its place, its value and what was expected', () => {
  const read_ = read({
    yaml: ['http:', '  listn: 127.0.0.1:9', '  maxConnections: many', 'bus: { driver: rabbit }', 'storage:', '  default: { driver: sqlite, cacheKb: 1 }', 'modules:', '  portal: { sessionDays: 900 }', '  tigger: {}', 'colour: red'].join('\n'),
  });
  assert.equal(read_.config, undefined);
  assert.deepEqual(placesOf(read_).sort(), [
    'bus.driver @ main.yaml:4',
    'colour @ main.yaml:10',
    'http.listn @ main.yaml:2',
    'http.maxConnections @ main.yaml:3',
    'modules.portal.sessionDays @ main.yaml:8',
    'modules.tigger @ main.yaml:9',
    'storage.default.cacheKb @ main.yaml:6',
  ]);
  const of = (path: string) => read_.problems.find((problem) => problem.path === path)!;
  assert.match(of('http.listn').expected, /Did you mean "listen"/);
  assert.match(of('modules.tigger').expected, /Did you mean "trigger"/);
  assert.match(of('bus.driver').expected, /embedded/);
  assert.equal(of('http.maxConnections').found, '"many"');
  assert.match(of('http.maxConnections').expected, /number/);
  assert.match(of('storage.default.cacheKb').expected, /at least 64/);
});

test('whoever cannot go on without a configuration gets all of it in one error', () => {
  const cwd = folderWith({ 'main.yaml': 'a: 1\nb: 2\n' });
  assert.throws(() => requireConfig({ topology: 'main', env: {}, cwd }, parts), (error: unknown) => {
    assert.ok(error instanceof ConfigError);
    assert.equal(error.problems.length, 2);
    assert.equal(error.message, formatProblems(error.problems));
    return true;
  });
});

test("a driver's section takes that driver's settings and no others", () => {
  const { problems } = read({ yaml: 'channels: { email: { driver: outbox, host: mail.example }, sms: { driver: smtp } }' });
  assert.deepEqual(problems.map(({ path }) => path), ['channels.email.host', 'channels.sms.host']);
});

test('no two modules have one database', () => {
  const problemsOf = (yaml: string) => read({ yaml }).problems.map(({ path, found }) => [path, found]);
  assert.deepEqual(problemsOf('storage: { portal: { driver: sqlite, schema: both }, trigger: { driver: sqlite, schema: both } }'), [['storage.trigger.schema', '"both"']]);
  assert.deepEqual(problemsOf('storage: { default: { driver: sqlite, schema: all } }'), [['storage.default.schema', '"all"']]);
  assert.deepEqual(problemsOf('storage: { portal: { driver: sqlite, schema: trigger }, trigger: { driver: sqlite, schema: portal } }'), []);
});

test('each module may have a storage of its own, the rest have the default', () => {
  const { config } = read({ yaml: 'storage: { default: { driver: sqlite, cacheKb: 100 }, trigger: { driver: sqlite, cacheKb: 200 } }' });
  assert.deepEqual(Object.values(config!.storage).map(({ settings }) => (settings as { cacheKb: number }).cacheKb), [100, 200, 100]);
});

test('the public address loses its last slash, and stands for itself', () => {
  const { config } = read({ yaml: 'publicUrl: https://mail.agency.example/' });
  assert.deepEqual([config!.publicUrl, config!.publicUrlGiven], ['https://mail.agency.example', true]);
  assert.equal(read({ yaml: 'http: { listen: "0.0.0.0:80" }' }).config!.publicUrl, 'http://localhost');
  for (const url of ['javascript:alert(1)', 'https://a@evil.example', 'https://a.example/?x=y', 'https://a.example/#x']) assert.equal(read({ yaml: `publicUrl: "${url}"` }).config, undefined, url);
});

for (const listen of ['8080', ':8080', '127.0.0.1', '127.0.0.1:65536', '127.0.0.1:x', 'http://127.0.0.1:80', '::1:80']) {
  test(`${listen} is no address to listen on`, () => {
    assert.deepEqual(read({ yaml: `http: { listen: "${listen}" }` }).problems.map(({ path }) => path), ['http.listen']);
  });
}
