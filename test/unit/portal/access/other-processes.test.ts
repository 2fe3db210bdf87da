import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext as Test } from 'node:test';
import { ApiKeys } from '../../../../modules/portal/access/api-keys.ts';
import { Passwords } from '../../../../modules/portal/access/passwords.ts';
import { Sessions } from '../../../../modules/portal/access/sessions.ts';
import { Setup } from '../../../../modules/portal/access/setup.ts';
import { Users } from '../../../../modules/portal/access/users.ts';
import { Workspaces } from '../../../../modules/portal/access/workspaces.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { silentLog, testContext } from '../../../support/context.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { TEST_POSTGRES } from '../../../support/module-storage.ts';
import { openPortalStore } from '../../../support/portal-store.ts';
import { PostgresServer } from '../../../support/postgres.ts';

const PASSWORD = 'correct horse battery';
const owner = { email: 'owner@example.com', password: PASSWORD, workspace: 'First' };

/** What one process of the portal has of access. */
async function openProcess(t: Test, clock: FakeClock, dataDir: string) {
  const portal = await openPortalStore(clock, dataDir);
  t.after(() => portal.close());
  const passwords = new Passwords({ N: 2 ** 10, r: 8, p: 1 });
  const sessions = new Sessions(portal.store, clock, silentLog);
  const users = new Users(portal.store, clock, passwords, sessions);
  const installation = { publicUrl: 'https://mail.example', secret: new Uint8Array(32) };
  const setup = new Setup(portal.store, clock, installation, passwords, users, new Workspaces(portal.store, clock), sessions);
  const link = async () => (await setup.pendingLink())!.slice(`${installation.publicUrl}/setup/`.length);
  return { store: portal.store, sessions, users, setup, link, keys: new ApiKeys(portal.store, clock, silentLog) };
}

async function openTwo(t: Test) {
  const clock = new FakeClock();
  const { dataDir } = testContext();
  return { clock, one: await openProcess(t, clock, dataDir), other: await openProcess(t, clock, dataDir) };
}

describe('of several processes of the portal that store in one database', () => {
  const server = new PostgresServer();
  before(async () => {
    await server.start();
    process.env[TEST_POSTGRES] = String(server.port);
  });
  after(() => server.remove());

  it('each one\'s set-up link works until the first owner is made', async (t) => {
    const { one, other } = await openTwo(t);
    const [first, second] = [await one.link(), await other.link()];
    assert.equal(await other.setup.isOpen(first), true);
    assert.equal(await one.setup.isOpen(second), true);
    await one.setup.complete(second, owner, '192.0.2.1');
    assert.equal(await other.setup.isOpen(first), false);
    assert.equal(await other.setup.pendingLink(), null);
  });

  it('a session that one has begun opens every one, and ends at all of them', async (t) => {
    const { one, other } = await openTwo(t);
    const { session, secret } = await one.setup.complete(await one.link(), owner, '192.0.2.1');
    assert.equal((await other.sessions.find(secret))?.sessionId, session.sessionId);
    await other.sessions.end(session.sessionId);
    assert.equal(await one.sessions.find(secret), null);
  });

  it('failed logins at one make whoever guesses wait at the others, and a right one is forgiven by all', async (t) => {
    const { clock, one, other } = await openTwo(t);
    await one.setup.complete(await one.link(), owner, '192.0.2.1');
    const guess = (users: Users, address: string, password = 'wrong wrong wrong') => users.logIn(owner.email, password, address).then(() => 'in', (thrown: unknown) => (thrown as Fault).reason);
    for (let i = 0; i < 6; i++) assert.equal(await guess(one.users, `198.51.100.${i}`), 'wrong_login');
    assert.equal(await guess(other.users, '203.0.113.9', PASSWORD), 'too_many_logins');
    await clock.advance(2_000);
    assert.equal(await guess(other.users, '203.0.113.9', PASSWORD), 'in');
    assert.equal(await guess(one.users, '198.51.100.77'), 'wrong_login');
  });

  it('tries at the same moment at all of them count together', async (t) => {
    const { one, other } = await openTwo(t);
    await one.setup.complete(await one.link(), owner, '192.0.2.1');
    const tries = await Promise.allSettled(Array.from({ length: 12 }, (_, i) => (i % 2 === 0 ? one : other).users.logIn(owner.email, 'wrong wrong wrong', `198.51.100.${i}`)));
    const reasons = tries.map((result) => (result.status === 'rejected' ? (result.reason as Fault).reason : 'in'));
    assert.deepEqual([reasons.filter((reason) => reason === 'wrong_login').length, reasons.filter((reason) => reason === 'too_many_logins').length], [6, 6]);
  });

  it('a key that is revoked at one is worth nothing at the others from then on', async (t) => {
    const { one, other } = await openTwo(t);
    const { workspace } = await one.setup.complete(await one.link(), owner, '192.0.2.1');
    const { key, secret } = await one.store.transaction((tx) => one.keys.create(tx, { workspace: workspace.workspaceId, name: 'K', scopes: ['ingest'], createdBy: 'u1' }));
    assert.equal((await other.keys.authenticate(secret))?.keyId, key.keyId);
    await one.keys.revoke(workspace.workspaceId, key.keyId);
    assert.equal(await other.keys.authenticate(secret), null);
  });
});
