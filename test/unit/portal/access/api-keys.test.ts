import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ApiKeys } from '../../../../modules/portal/access/api-keys.ts';
import { newSecret } from '../../../../modules/portal/access/secrets.ts';
import { Workspaces } from '../../../../modules/portal/access/workspaces.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { silentLog } from '../../../support/context.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { openPortalStore, type PortalStore } from '../../../support/portal-store.ts';

const clock = new FakeClock();
let portal: PortalStore;
let keys: ApiKeys;
let workspace: string;
let other: string;

before(async () => {
  portal = await openPortalStore(clock);
  keys = new ApiKeys(portal.store, clock, silentLog);
  const workspaces = new Workspaces(portal.store, clock);
  [workspace, other] = await portal.store.transaction(async (tx) => [(await workspaces.create(tx, 'One')).workspaceId, (await workspaces.create(tx, 'Two')).workspaceId]);
});
after(() => portal.close());

const create = (repeatKey?: string) => portal.store.transaction((tx) => keys.create(tx, { workspace, name: 'sdk', scopes: ['ingest', 'ingest'], createdBy: 'u', repeatKey }));

test('a key speaks for its workspace with exactly its scopes, from the cache as from the database', async () => {
  const { key, secret } = await create();
  assert.match(secret, /^ml_[A-Za-z0-9_-]{43}$/);
  for (const round of ['database', 'cache']) {
    const holder = await keys.authenticate(secret);
    assert.equal(holder?.workspace, workspace, round);
    assert.equal(holder?.keyId, key.keyId);
    assert.deepEqual([...holder!.scopes], ['ingest']);
  }
});

test('the database holds neither the secret nor what it could be made from', async () => {
  const { secret } = await create();
  const rows = JSON.stringify(await portal.store.db.selectFrom('api_keys').selectAll().execute());
  assert.ok(!rows.includes(secret) && !rows.includes(secret.slice(12)));
});

test('malformed, unknown and cut secrets speak for nobody', async () => {
  const { secret } = await create();
  for (const wrong of ['', 'ml_', `ml_${newSecret()}`, secret.slice(0, -1), `${secret}x`, secret.toUpperCase(), `${secret}\0`]) assert.equal(await keys.authenticate(wrong), null, JSON.stringify(wrong));
});

test('a revoked key is worth nothing at once, cached or not, and again', async () => {
  const { key, secret } = await create();
  await keys.authenticate(secret);
  await keys.revoke(workspace, key.keyId);
  assert.equal(await keys.authenticate(secret), null);
  const again = await keys.revoke(workspace, key.keyId);
  assert.equal(again.revokedAt, clock.now());
});

test('an answer that was being read while the key was revoked is not kept', async () => {
  const { key, secret } = await create();
  let goOn = () => {};
  const held = new Promise<void>((resolve) => (goOn = resolve));
  let read = () => {};
  const hasRead = new Promise<void>((resolve) => (read = resolve));
  const run: typeof portal.store.run = async (statement, params) => {
    const rows = await portal.store.run(statement, params);
    read();
    await held;
    return rows;
  };
  const { store } = portal;
  const slow = new ApiKeys({ db: store.db, capabilities: store.capabilities, run, scan: store.scan, lists: store.lists, transaction: store.transaction.bind(store) }, clock, silentLog);
  const reading = slow.authenticate(secret);
  await hasRead;
  await slow.revoke(workspace, key.keyId);
  goOn();
  await reading;
  assert.equal(await slow.authenticate(secret), null);
});

test('another workspace can neither see nor revoke a key', async () => {
  const { key, secret } = await create();
  await assert.rejects(keys.revoke(other, key.keyId), (thrown) => Fault.is(thrown) && thrown.reason === 'api_key_not_found');
  await assert.rejects(keys.get(other, key.keyId), (thrown) => Fault.is(thrown) && thrown.code === 'not_found');
  assert.deepEqual(await keys.list(other, { limit: 10 }), []);
  assert.ok(await keys.authenticate(secret));
});

test('the last use is noted, at most once a minute', async () => {
  const { key, secret } = await create();
  assert.equal((await keys.get(workspace, key.keyId)).lastUsedAt, null);
  await keys.authenticate(secret);
  const first = clock.now();
  // A later transaction waits for the earlier one, which is not waited for.
  await portal.store.transaction(async () => {});
  assert.equal((await keys.get(workspace, key.keyId)).lastUsedAt, first);
  await clock.advance(59_000);
  await keys.authenticate(secret);
  await portal.store.transaction(async () => {});
  assert.equal((await keys.get(workspace, key.keyId)).lastUsedAt, first);
  await clock.advance(1_000);
  await keys.authenticate(secret);
  await portal.store.transaction(async () => {});
  assert.equal((await keys.get(workspace, key.keyId)).lastUsedAt, first + 60_000);
});

test('the same request makes one key', async () => {
  await create('same');
  await assert.rejects(create('same'), (thrown) => Fault.is(thrown) && thrown.code === 'conflict');
});
