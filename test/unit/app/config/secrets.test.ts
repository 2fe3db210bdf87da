import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatProblems } from '../../../../src/app/config/problem.ts';
import { folderWith, placesOf, read } from './fixture.ts';

const smtp = (settings: string) => `channels: { email: { driver: smtp, host: mail.example, ${settings} } }`;
const emailOf = (given: Parameters<typeof read>[0]) => read(given).config!.channels.email!.settings as Record<string, unknown>;

test('a secret comes from the environment or from a file beside the one that names it', () => {
  assert.equal(emailOf({ yaml: smtp('password: { fromEnv: SMTP_PASSWORD }'), env: { SMTP_PASSWORD: 'tops3cret' } }).password, 'tops3cret');
  assert.equal(emailOf({ yaml: { 'main.yaml': smtp('password: { fromFile: ./pass }'), pass: 'tops3cret\n' } }).password, 'tops3cret');
});

test('a missing secret is a problem with a name', () => {
  const result = read({ yaml: `${smtp('password: { fromEnv: NOPE }, username: { fromFile: nope }')}` });
  assert.deepEqual(placesOf(result).sort(), ['channels.email.password @ main.yaml:1', 'channels.email.username @ main.yaml:1']);
  assert.match(formatProblems(result.problems), /NOPE/);
});

test('a missing secret is one problem, whatever its setting asks of the value', () => {
  for (const reference of ['{ fromFile: nope }', '{ fromEnv: NOPE }']) {
    assert.deepEqual(placesOf(read({ yaml: `modules: { notification: { sender: { name: A, email: ${reference} } } }` })), ['modules.notification.sender.email @ main.yaml:1']);
  }
});

test('no secret is ever shown: not in the plan, not in a problem', () => {
  const secrets = ['tops3cret', 'pr1vate', 'fr0mfile', 'inurl99'];
  const good = read({
    yaml: { 'main.yaml': `${smtp('username: { fromFile: pass }, password: tops3cret')}\nmodules: { notification: { dkim: { privateKey: pr1vate }, from: "smtp://a:inurl99@b" } }\n`, pass: 'fr0mfile' },
  });
  assert.deepEqual(good.problems, []);
  for (const secret of secrets) assert.ok(!JSON.stringify(good.config!.shown).includes(secret), `${secret} is shown`);
  assert.equal((good.config!.channels.email!.settings as { password: string }).password, 'tops3cret');
  const bad = read({ yaml: `${smtp('pasword: tops3cret, password: [tops3cret], port: { fromEnv: P }, host2: "https://u:inurl99@b/"')}\nmodules: { notification: { dkim: pr1vate } }`, env: { P: 'fr0mfile' } });
  assert.ok(bad.problems.length >= 4);
  for (const secret of secrets) assert.ok(!formatProblems(bad.problems).includes(secret), `${secret} is shown:\n${formatProblems(bad.problems)}`);
});

test('MULTILITH_SMTP_URL sends mail by SMTP', () => {
  assert.deepEqual(emailOf({ env: { MULTILITH_SMTP_URL: 'smtp://me%40here:p%3Aw@mail.example:2525' } }), { host: 'mail.example', port: 2525, security: 'starttls', username: 'me@here', password: 'p:w' });
  assert.deepEqual(emailOf({ env: { MULTILITH_SMTP_URL: 'smtps://mail.example' } }), { host: 'mail.example', port: 465, security: 'tls' });
});

test('MULTILITH_MAIL_FROM is who mails come from', () => {
  const senderOf = (value: string) => (read({ env: { MULTILITH_MAIL_FROM: value } }).config?.modules.notification as { sender: object } | undefined)?.sender;
  assert.deepEqual(senderOf('Harbor Lane <hello@agency.example>'), { name: 'Harbor Lane', email: 'hello@agency.example' });
  assert.deepEqual(senderOf('"Lane, Harbor" <hello@agency.example>'), { name: 'Lane, Harbor', email: 'hello@agency.example' });
  assert.deepEqual(senderOf('hello@agency.example'), { name: '', email: 'hello@agency.example' });
  for (const wrong of ['hello', 'a <b', '<>', 'a <b@c> d', 'Harbor <not an address>']) assert.equal(senderOf(wrong), undefined, wrong);
});

test('any variable may be given as a file', () => {
  const folder = folderWith({ url: 'smtp://a:b@mail.example\n', empty: '' });
  assert.equal(emailOf({ env: { MULTILITH_SMTP_URL_FILE: `${folder}/url` } }).password, 'b');
  assert.deepEqual(placesOf(read({ env: { MULTILITH_SMTP_URL_FILE: `${folder}/empty` } })), [' @ MULTILITH_SMTP_URL_FILE']);
  assert.deepEqual(placesOf(read({ env: { MULTILITH_SMTP_URL_FILE: `${folder}/url`, MULTILITH_SMTP_URL: 'smtp://x' } })), [' @ MULTILITH_SMTP_URL']);
});

for (const url of ['mail.example:25', 'http://mail.example', 'smtp://', 'smtp://a:tops3cret@mail.example/path', 'smtp://a:tops3cret@mail.example?x=1', 'smtp://a:%E0@mail.example']) {
  test(`${url} is no address of an SMTP server, and is not shown`, () => {
    const { problems, config } = read({ env: { MULTILITH_SMTP_URL: url } });
    assert.equal(config, undefined);
    assert.ok(!formatProblems(problems).includes('tops3cret'));
  });
}

test('an unknown variable is only worth a warning', () => {
  const { config, problems } = read({ env: { MULTILITH_HTTP_LISTN: 'x', MULTILITH_LAUNCHER: '1', MULTILITH_HOST: 'app' } });
  assert.ok(config);
  assert.deepEqual(problems.map(({ severity, source }) => [severity, source]), [['warning', 'MULTILITH_HTTP_LISTN']]);
  assert.match(problems[0]!.expected, /MULTILITH_HTTP_LISTEN/);
});
