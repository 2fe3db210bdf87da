import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Passwords } from '../../../../modules/portal/access/passwords.ts';
import { IDLE_MS, LONGEST_MS, Sessions } from '../../../../modules/portal/access/sessions.ts';
import { Setup } from '../../../../modules/portal/access/setup.ts';
import { Users } from '../../../../modules/portal/access/users.ts';
import { Workspaces } from '../../../../modules/portal/access/workspaces.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { silentLog } from '../../../support/context.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { openPortalStore, type PortalStore } from '../../../support/portal-store.ts';

const clock = new FakeClock();
const password = 'correct horse battery';
let portal: PortalStore;
let sessions: Sessions;
let users: Users;
let setup: Setup;

before(async () => {
  portal = await openPortalStore(clock);
  const passwords = new Passwords({ N: 2 ** 10, r: 8, p: 1 });
  sessions = new Sessions(portal.store, clock, silentLog);
  users = new Users(portal.store, clock, passwords, sessions);
  setup = new Setup(portal.store, clock, { publicUrl: 'https://mail.example', secret: new Uint8Array(32) }, passwords, users, new Workspaces(portal.store, clock), sessions);
});
after(() => portal.close());

const reason = (expected: string) => (thrown: unknown) => Fault.is(thrown) && thrown.reason === expected;
const secretOf = (link: string | null) => link!.slice('https://mail.example/setup/'.length);
const wanted = { email: 'Owner@Example.com', password, workspace: 'First' };

test('the set-up link: each start makes a new one, it ages, and it works once', async () => {
  const first = secretOf(await setup.pendingLink());
  const second = secretOf(await setup.pendingLink());
  // Where several processes start, each shows its own.
  const { shared } = portal.store.capabilities;
  assert.equal(await setup.isOpen(first), shared);
  assert.equal(await setup.isOpen(second), true);
  if (!shared) await assert.rejects(setup.complete(first, wanted, '192.0.2.1'), reason('setup_link_invalid'));

  await clock.advance(24 * 3_600_000);
  assert.equal(await setup.isOpen(second), false);
  await assert.rejects(setup.complete(second, wanted, '192.0.2.1'), reason('setup_link_invalid'));

  const third = secretOf(await setup.pendingLink());
  const results = await Promise.allSettled([setup.complete(third, wanted, '192.0.2.1'), setup.complete(third, { ...wanted, email: 'second@example.com' }, '192.0.2.1')]);
  assert.deepEqual(results.map((result) => result.status).sort(), ['fulfilled', 'rejected']);
  assert.equal((await portal.store.db.selectFrom('users').select('id').execute()).length, 1);
  assert.equal(await setup.pendingLink(), null);
  assert.equal(await setup.isOpen(third), false);
  assert.deepEqual(await setup.lines(), []);
});

test('the link is not in the database', async () => {
  const fresh = await openPortalStore(clock);
  const passwords = new Passwords({ N: 2 ** 10, r: 8, p: 1 });
  const own = new Setup(fresh.store, clock, { publicUrl: 'https://mail.example', secret: new Uint8Array(32) }, passwords, users, new Workspaces(fresh.store, clock), sessions);
  const secret = secretOf(await own.pendingLink());
  assert.ok(!JSON.stringify(await fresh.store.db.selectFrom('setup_links').selectAll().execute()).includes(secret));
  await fresh.close();
});

test('a login answers a session; a wrong password and an unknown user are refused alike', async () => {
  const { email } = await portal.store.db.selectFrom('users').select('email').executeTakeFirstOrThrow();
  const { session, secret } = await users.logIn(` ${email.toUpperCase()} `, password, '192.0.2.1');
  assert.equal((await sessions.find(secret))?.sessionId, session.sessionId);
  const faults = await Promise.all([users.logIn(email, 'wrong wrong wrong', '192.0.2.1'), users.logIn('nobody@example.com', password, '192.0.2.1')].map((login) => login.then(() => assert.fail(), (thrown: unknown) => thrown)));
  assert.deepEqual(faults.map((fault) => (fault as Fault).toRecord()).at(0), faults.map((fault) => (fault as Fault).toRecord()).at(1));
  assert.ok(reason('wrong_login')(faults[0]));
  assert.ok(!JSON.stringify(await portal.store.db.selectFrom('sessions').selectAll().execute()).includes(secret));
});

test('the account waits after some failures, whatever address they come from; the right password does not help', async () => {
  const { email } = await portal.store.db.selectFrom('users').select('email').executeTakeFirstOrThrow();
  await clock.advance(3_600_000);
  for (let i = 0; i < 6; i++) await assert.rejects(users.logIn(email, 'wrong wrong wrong', `198.51.100.${i}`), reason('wrong_login'));
  await assert.rejects(users.logIn(email, password, '203.0.113.9'), (thrown) => Fault.is(thrown) && thrown.reason === 'too_many_logins' && thrown.details.retryAfterMs === 2_000);
  await clock.advance(2_000);
  await users.logIn(email, password, '203.0.113.9');
  // Forgiven: five more are free again.
  await assert.rejects(users.logIn(email, 'wrong wrong wrong', '203.0.113.9'), reason('wrong_login'));
});

test('strangers make an account wait for strangers, not for where its owner has logged in from', async () => {
  const { id, email } = await portal.store.db.selectFrom('users').select(['id', 'email']).executeTakeFirstOrThrow();
  await clock.advance(3_600_000);
  await users.logIn(email, password, '2001:db8::1');
  for (let i = 0; i < 6; i++) await assert.rejects(users.logIn(email, 'wrong wrong wrong', `198.51.100.${i}`), reason('wrong_login'));
  await assert.rejects(users.logIn(email, password, '203.0.113.77'), reason('too_many_logins'));
  await users.logIn(email, password, '2001:db8::2');
  await users.logIn(email, password, '192.0.2.1');

  // That forgave nobody else, and guessing from there waits too.
  await assert.rejects(users.logIn(email, password, '203.0.113.77'), reason('too_many_logins'));
  for (let i = 0; i < 6; i++) await assert.rejects(users.logIn(email, 'wrong wrong wrong', '2001:db8::3'), reason('wrong_login'));
  await assert.rejects(users.logIn(email, password, '2001:db8::1'), reason('too_many_logins'));
  await users.logIn(email, password, '192.0.2.1');

  await clock.advance(3_600_000);
  for (let i = 0; i < 25; i++) {
    await clock.advance(1_000);
    await users.logIn(email, password, `198.18.0.${i}`);
  }
  const kept = await portal.store.db.selectFrom('login_networks').select('network').where('user_id', '=', id).orderBy('seen_at').execute();
  assert.deepEqual(kept.map((row) => row.network), Array.from({ length: 20 }, (_, i) => `198.18.0.${i + 5}`));
});

test('an address waits after failures on many accounts, also those that do not exist', async () => {
  for (let i = 0; i < 21; i++) await assert.rejects(users.logIn(`nobody${i}@example.com`, 'x', '203.0.113.50'), reason('wrong_login'));
  await assert.rejects(users.logIn('nobody99@example.com', 'x', '203.0.113.50'), reason('too_many_logins'));
  await assert.rejects(users.logIn('nobody99@example.com', 'x', '203.0.113.51'), reason('wrong_login'));
});

test('a session ends when it is idle, when it is old, and when it is ended', async () => {
  await clock.advance(3_600_000);
  const { email } = await portal.store.db.selectFrom('users').select('email').executeTakeFirstOrThrow();
  const begin = async () => (await users.logIn(email, password, '192.0.2.1')).secret;
  const idle = await begin();
  await clock.advance(IDLE_MS);
  assert.equal(await sessions.find(idle), null);

  const used = await begin();
  const began = clock.now();
  while (clock.now() - began < LONGEST_MS - IDLE_MS / 2) {
    assert.ok(await sessions.find(used));
    await portal.store.transaction(async () => {});
    await clock.advance(IDLE_MS / 2);
  }
  assert.ok(await sessions.find(used));
  await portal.store.transaction(async () => {});
  await clock.advance(IDLE_MS / 2);
  assert.equal(await sessions.find(used), null);

  const ended = await begin();
  await sessions.end((await sessions.find(ended))!.sessionId);
  await sessions.end('unknown');
  assert.equal(await sessions.find(ended), null);
  for (const wrong of ['', 'x', `${ended}x`, 'A'.repeat(43)]) assert.equal(await sessions.find(wrong), null);
});

test('a new password ends every session but the one that it begins', async () => {
  const { id, email } = await portal.store.db.selectFrom('users').select(['id', 'email']).executeTakeFirstOrThrow();
  const old = await Promise.all([users.logIn(email, password, '192.0.2.1'), users.logIn(email, password, '192.0.2.2')]);
  await assert.rejects(users.changePassword(id, 'wrong wrong wrong', 'another battery horse', '192.0.2.1'), reason('wrong_password'));
  const { secret } = await users.changePassword(id, password, 'another battery horse', '192.0.2.1');
  for (const each of old) assert.equal(await sessions.find(each.secret), null);
  assert.deepEqual(await portal.store.db.selectFrom('login_networks').select(['user_id', 'network']).execute(), [{ user_id: id, network: '192.0.2.1' }]);
  assert.ok(await sessions.find(secret));
  await assert.rejects(users.logIn(email, password, '192.0.2.1'), reason('wrong_login'));
  await users.logIn(email, 'another battery horse', '192.0.2.1');
});
