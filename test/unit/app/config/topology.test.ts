import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readConfig } from '../../../../src/app/config/config.ts';
import { parts as installed } from '../../../../src/app/parts.ts';
import type { TlsMaterial } from '../../../../src/ports/transport.ts';
import { newAuthority } from '../../../support/certificates.ts';
import { folderWith, read } from './fixture.ts';

const placesOf = (yaml: string) => read({ yaml }).problems.map(({ path }) => path);

test('every module lives on one host', () => {
  assert.deepEqual(placesOf('hosts: { app: { modules: [portal, trigger] } }'), ['hosts']);
  assert.deepEqual(placesOf('hosts: { app: { modules: [portal, trigger, notification, notification] } }'), ['hosts.app.modules.3']);
  assert.deepEqual(placesOf('hosts: { app: { modules: [portal, triger, notification] } }'), ['hosts.app.modules.1']);
  assert.deepEqual(placesOf('hosts: { app: { modules: [] } }'), ['hosts.app.modules']);
});

test('who gives a module to another host is told how to leave out the one that the extended file has', () => {
  const moved = (app: string) => read({ yaml: `extends: default\nhosts: { ${app}front: { modules: [portal, trigger], listen: "127.0.0.1:7071" }, mailer: { modules: [notification], listen: "127.0.0.1:7072" } }\nbus: { driver: embedded, host: front }` }).problems;
  assert.match(moved('')[0]!.expected, /app has it already\. .*: app: null\./);
  assert.deepEqual(moved('app: null, '), []);
});

test('what only follows from another mistake is not told', () => {
  const cached = `${TWO}calls: { notification: { via: rpc, cache: { entries: 1_000 } }, trigger: { via: inline } }`;
  assert.deepEqual(placesOf(cached), []);
  assert.deepEqual(placesOf(cached.replace('[notification]', '[notificaton]')), ['hosts.mailer.modules.0']);
  assert.deepEqual(placesOf(cached.replace('[notification]', '[notification, trigger]')), ['hosts.mailer.modules.1']);
  assert.deepEqual(placesOf(cached.replace('[notification]', 'notification')), ['hosts.mailer.modules']);
  assert.deepEqual(placesOf(cached.replace('[notification]', '[mails]')), ['hosts.mailer.modules.0', 'hosts']);
});

test('a missing address is told of with the place of its host', () => {
  const { problems } = read({ yaml: TWO.replace(', listen: "127.0.0.1:7072"', '').replaceAll(', mailer:', ',\n  mailer:') });
  assert.deepEqual(problems.map(({ path, source }) => [path, source]), [['hosts.mailer.listen', 'main.yaml:2']]);
});

test('hosts and browsers are not answered at one address', () => {
  const problemsOf = (yaml: string) => readConfig({ topology: 'main.yaml', env: {}, cwd: folderWith({ 'main.yaml': yaml }) }, installed).problems;
  const [problem, ...others] = problemsOf(`${TWO}http: { listen: "127.0.0.1:7071" }`);
  assert.deepEqual([problem?.path, others], ['hosts.app.listen', []]);
  assert.match(problem!.expected, /must differ from http\.listen.*another port/);
  assert.deepEqual(problemsOf(`${TWO}http: { listen: "127.0.0.1:7072" }`).map(({ path }) => path), ['hosts.mailer.listen']);
  assert.deepEqual(problemsOf(`${TWO}http: { listen: "0.0.0.0:7071" }`).map(({ path }) => path), ['hosts.app.listen']);
  assert.deepEqual(problemsOf(`${TWO}http: { listen: "0.0.0.0:7072" }`), [], 'the other host may be on another machine');
});

test('any module may be called through the codec', () => {
  assert.deepEqual(placesOf('calls: { portal: { via: inline-strict }, trigger: { via: inline-strict }, notification: { via: inline-strict } }'), []);
  assert.deepEqual(placesOf('calls: { portal: { via: inline-strict } }'), []);
});

test('a way of calling that nobody knows is refused with the one that was meant', () => {
  const { problems } = read({ yaml: 'calls: { notification: { via: inlin } }' });
  assert.match(problems[0]!.expected, /must be one of inline, inline-strict, thread, rpc, http. Did you mean "inline"/);
});

const TWO = 'hosts: { app: { modules: [portal, trigger], listen: "127.0.0.1:7071" }, mailer: { modules: [notification], listen: "127.0.0.1:7072" } }\nbus: { driver: embedded, host: app }\n';

test('two hosts that find each other on this machine need nothing else', () => {
  assert.deepEqual(placesOf(TWO), []);
  assert.deepEqual(placesOf(`${TWO}calls: { notification: { via: http, cache: { entries: 1_000, shared: memcached } }, portal: { via: rpc } }`), []);
});

test('a module on another host is not reached within the process', () => {
  for (const via of ['inline', 'inline-strict', 'thread']) {
    const { problems } = read({ yaml: `${TWO}calls: { notification: { via: ${via} } }` });
    assert.deepEqual(problems.map(({ path, found }) => [path, found]), [['calls.notification.via', JSON.stringify(via)]]);
    assert.match(problems[0]!.expected, /portal on another host than mailer calls notification: must be rpc or http/);
  }
});

test('several hosts need addresses, and a keeper of the messages, each named', () => {
  const { problems } = read({ yaml: 'hosts: { app: { modules: [portal, trigger] }, mailer: { modules: [notification], listen: "0.0.0.0:7070" } }' });
  assert.deepEqual(problems.map(({ path }) => path).sort(), ['bus.host', 'hosts.app.listen', 'hosts.mailer.addresses', 'peers.secret']);
});

test('hosts that strangers can reach share a secret of some length', () => {
  const far = TWO.replaceAll('127.0.0.1', '10.0.0.5');
  assert.deepEqual(placesOf(far), ['peers.secret', 'peers.secret']);
  assert.deepEqual(read({ yaml: far, env: { MULTILITH_PEER_SECRET: 'x'.repeat(32) } }).problems, []);
  const short = read({ yaml: far, env: { MULTILITH_PEER_SECRET: 'tooshort' } });
  assert.ok(short.problems.every(({ found }) => found === undefined || !found.includes('tooshort')), 'a secret is never shown');
  assert.match(short.problems.map(({ expected }) => expected).join(), /16 characters/);
});

test('a secret that a header of http would change on its way is refused', () => {
  for (const secret of ['sixteen characters\nor more', 'sixteen characters or more\n', ' sixteen characters or more', 'sixteen characters or more ']) {
    assert.deepEqual(read({ yaml: TWO, env: { MULTILITH_PEER_SECRET: secret } }).problems.map(({ path }) => path), ['peers.secret'], JSON.stringify(secret));
  }
  assert.deepEqual(read({ yaml: TWO, env: { MULTILITH_PEER_SECRET: 'sechzehn Zeichen, größer' } }).problems, []);
});

test('certificates and keys are looked at before anything starts, and the wrong one is named', (t) => {
  const authority = newAuthority(t);
  const [one, other] = [authority('one'), authority('other')] as const;
  const placesWith = (change: Partial<TlsMaterial>) => read({ yaml: `${TWO}peers: ${JSON.stringify({ tls: { ...one, ...change } })}` }).problems.map(({ path }) => path);
  assert.deepEqual(placesWith({}), []);
  assert.deepEqual(placesWith({ cert: one.key as string }), ['peers.tls.cert']);
  assert.deepEqual(placesWith({ ca: 'an authority' }), ['peers.tls.ca']);
  assert.deepEqual(placesWith({ key: one.cert as string }), ['peers.tls.key']);
  assert.deepEqual(placesWith({ key: other.key }), ['peers.tls.key']);
  const missing = read({ yaml: `${TWO}peers: { tls: { cert: { fromEnv: NOWHERE }, key: { fromEnv: NOWHERE }, ca: { fromEnv: NOWHERE } } }` });
  assert.deepEqual(missing.problems.map(({ path }) => path), ['peers.tls.cert', 'peers.tls.key', 'peers.tls.ca'], 'each once');
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 3 * 86_400_000 });
  assert.deepEqual(read({ yaml: `${TWO}peers: ${JSON.stringify({ tls: one })}` }).problems.map(({ path, severity }) => [path, severity]), [['peers.tls.cert', 'warning'], ['peers.tls.ca', 'warning']], 'they last two days');
});

test('a name that only begins like an address of this machine may be anywhere', () => {
  assert.deepEqual(placesOf(TWO.replace('127.0.0.1:7072', '127.0.0.1.example:7072')), ['peers.secret']);
});

test('two hosts cannot be reached at one address', () => {
  const { problems } = read({ yaml: TWO.replace('7072', '7071') });
  assert.deepEqual(problems.map(({ path }) => path), ['hosts.mailer.listen']);
  assert.match(problems[0]!.expected, /address of app, which is 127\.0\.0\.1:7071 too/);
});

test('a list of addresses names one for each process, with its port', () => {
  const topology = (mailer: string) => TWO.replace('listen: "127.0.0.1:7072"', mailer);
  assert.deepEqual(placesOf(topology('listen: "127.0.0.1:0"')), ['hosts.mailer.listen']);
  assert.deepEqual(placesOf(topology('listen: "0.0.0.0:7072", addresses: ["127.0.0.1:7072"]')), ['peers.secret']);
});

test('the messages have a keeper that exists', () => {
  assert.deepEqual(placesOf(TWO.replace('host: app', 'host: ap')), ['bus.host']);
  assert.deepEqual(placesOf(TWO.replace(', host: app', '')), ['bus.host']);
});

test('messages are no larger than what may cross where they go between hosts or threads', () => {
  const problemsOf = (yaml: string) => readConfig({ topology: 'main.yaml', env: {}, cwd: folderWith({ 'main.yaml': yaml }) }, installed).problems;
  const large = 'driver: embedded, maxMessageBytes: 4_000_000';
  assert.deepEqual(problemsOf(`bus: { ${large} }`), []);
  for (const yaml of [TWO.replace('driver: embedded', large), `bus: { ${large} }\ncalls: { notification: { via: thread } }`]) {
    const problems = problemsOf(yaml);
    assert.deepEqual(problems.map(({ path }) => path), ['bus.maxMessageBytes']);
    assert.match(problems[0]!.expected, /must be at most 2031616/);
    assert.deepEqual(problemsOf(yaml.replace('4_000_000', '2_031_616')), []);
  }
});

test('replicas need a bus and storages that can be shared', () => {
  const yaml = 'hosts: { app: { modules: [portal, trigger, notification], replicas: 2, listen: "127.0.0.1:7071", addresses: ["127.0.0.1:7071", "127.0.0.1:7072"] } }';
  assert.deepEqual(placesOf(yaml), ['hosts.app.replicas', 'hosts.app.replicas', 'hosts.app.replicas', 'hosts.app.replicas']);
  const words = read({ yaml }).problems.map(({ expected }) => expected).join('\n');
  assert.match(words, /portal keeps things in memory .* a host of notification alone may have several/);
  assert.match(words, /notification stores in sqlite/);
});

test('replicas do not keep mails, each for itself', () => {
  const yaml = `hosts: { app: { modules: [portal, trigger], listen: "127.0.0.1:7071" }, mailer: { modules: [notification], replicas: 2, listen: "127.0.0.1:7072", addresses: ["127.0.0.1:7072", "127.0.0.1:7073"] } }
bus: { driver: embedded, host: app }
storage: { notification: { driver: postgres } }
`;
  const problemsOf = (more: string, env: NodeJS.ProcessEnv = {}) => readConfig({ topology: 'main.yaml', env, cwd: folderWith({ 'main.yaml': yaml + more }) }, installed).problems;
  const [problem, ...others] = problemsOf('');
  assert.deepEqual([problem?.path, others], ['hosts.mailer.replicas', []]);
  assert.match(problem!.expected, /keeps mails in outbox .*channels\.email with driver smtp, or MULTILITH_SMTP_URL/);
  assert.deepEqual(problemsOf('channels: { email: { driver: smtp, host: mail.example } }'), []);
  assert.deepEqual(problemsOf('', { MULTILITH_SMTP_URL: 'smtp://mail.example' }), []);
  assert.deepEqual(problemsOf('channels: { email: { driver: smtp, host: mail.example }, archive: { driver: outbox } }').map(({ path }) => path), ['hosts.mailer.replicas']);
  assert.deepEqual(problemsOf('channels: { email: { driver: smtp } }').map(({ path }) => path), ['channels.email.host']);
});

test('a cache needs a call that leaves the process, and a second tier that exists', () => {
  assert.deepEqual(placesOf('calls: { portal: { via: inline, cache: { entries: 50_000 } } }'), ['calls.portal.cache']);
  assert.deepEqual(placesOf(`${TWO}calls: { notification: { cache: { entries: 50_000, shared: memcache } } }`), ['calls.notification.cache.shared']);
  assert.deepEqual(placesOf(`${TWO}calls: { notification: { cache: { entries: 5_000_001 } } }`), ['calls.notification.cache.entries']);
});

test('a registry has its own settings', () => {
  assert.deepEqual(placesOf('registry: { driver: zookeeper, servers: ["127.0.0.1:2181"] }'), []);
  assert.deepEqual(placesOf('registry: { driver: zookeper }'), ['registry.driver']);
  assert.deepEqual(placesOf('registry: { driver: static, servers: [] }'), ['registry.servers']);
});

test('a module that answers browsers or operators stays on the main thread; others may have one', () => {
  const problemsOf = (yaml: string) => readConfig({ topology: 'main.yaml', env: {}, cwd: folderWith({ 'main.yaml': yaml }) }, installed).problems;
  assert.deepEqual(problemsOf('calls: { trigger: { via: thread }, notification: { via: thread, cache: { entries: 10 } } }'), []);
  const [{ path, expected } = { path: '', expected: '' }, ...others] = problemsOf('calls: { portal: { via: thread } }');
  assert.deepEqual([path, others], ['calls.portal.via', []]);
  assert.match(expected, /answers browsers or operators/);
});

test('queues for other programs wait for events that there are', () => {
  const problemsOf = (workers: string) => readConfig({ topology: 'main.yaml', env: {}, cwd: folderWith({ 'main.yaml': `bus: { driver: activemq, workers: ${workers} }` }) }, installed).problems.map(({ path, expected }) => [path, expected.split('.')[0]]);
  assert.deepEqual(problemsOf('{ scores: { events: [portal.event-recorded, worker.scored] }, letters: {} }'), []);
  assert.deepEqual(problemsOf('{ scores: { events: [worker.scored, portal.event-recorde] } }'), [['bus.workers.scores.events.1', 'no such event']]);
  assert.deepEqual(problemsOf('{ scores: { concurrency: 201 } }').map(([path]) => path), ['bus.workers.scores.concurrency']);
  assert.deepEqual(problemsOf('{ Scores: {} }').length, 1);
});
