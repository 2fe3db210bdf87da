import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Idempotency } from '../../../../modules/portal/http/idempotency.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { openPortalStore } from '../../../support/portal-store.ts';
import { bearer, fromOurPage, type PortalWeb, type Reply, startPortalWeb } from '../../../support/portal-web.ts';

let web: PortalWeb;
let cookie: string;
let mine: Record<string, string>;
let sibling: Record<string, string>;
let foreign: Record<string, string>;

before(async () => {
  web = await startPortalWeb();
  ({ cookie } = await web.setUp());
  mine = bearer(await web.key(cookie));
  sibling = bearer(await web.key(cookie));
  const second = await web.ask('/api/v1/workspaces', { method: 'POST', headers: fromOurPage(cookie), body: { name: 'Second' } });
  foreign = bearer(await web.key(cookie, undefined, second.json.workspaceId as string));
});
after(() => web.close());

const draft = { subject: 'Hi', format: 'html', body: '<p>Hi</p>', text: null, from: null };
const create = (key: string, name: string, headers = mine) => web.ask('/api/v1/templates', { method: 'POST', headers: { ...headers, 'Idempotency-Key': key }, body: { name, draft } });
const bare = ({ status, text, headers }: Reply) => ({ status, text, location: headers.location, etag: headers.etag });

test('the same key with the same request has one effect and the same answer', async () => {
  const first = await create('once', 'A');
  const again = await create('once', 'A');
  assert.equal(first.status, 201);
  assert.deepEqual(bare(again), bare(first));
  assert.deepEqual([first.headers['idempotency-replayed'], again.headers['idempotency-replayed']], [undefined, 'true']);
  const { items } = (await web.ask('/api/v1/templates', { headers: mine })).json;
  assert.equal(items.length, 1);
});

test('with another body, path or version it is refused', async () => {
  await create('other', 'B');
  const reply = await create('other', 'C');
  assert.deepEqual([reply.status, reply.json.reason], [422, 'idempotency_key_reused']);
  const elsewhere = await web.ask('/api/v1/people', { method: 'POST', headers: { ...mine, 'Idempotency-Key': 'other' }, body: {} });
  assert.equal(elsewhere.status, 422);
});

test('at the same time, one runs and the other is told to wait', async () => {
  let release = () => {};
  const { templateId } = (await create('slow-template', 'slow')).json;
  const started = new Promise<void>((resolve) => {
    web.notification.beforeCompiling = () => new Promise((done) => ((release = done), resolve()));
  });
  const publish = () => web.ask(`/api/v1/templates/${templateId}/publish`, { method: 'POST', headers: { ...mine, 'Idempotency-Key': 'slow' } });
  const first = publish();
  await started;
  const second = await publish();
  assert.deepEqual([second.status, second.json.reason, second.headers['retry-after']], [409, 'idempotency_in_progress', '1']);
  release();
  web.notification.beforeCompiling = async () => {};
  const done = await first;
  assert.equal(done.status, 200);
  assert.equal((await publish()).text, done.text);
  assert.equal((await web.ask(`/api/v1/templates/${templateId}/versions`, { headers: mine })).json.items.length, 1);
});

test('another workspace or another key may use the same Idempotency-Key and gets its own answer', async () => {
  const replies = [await create('shared', 'X'), await create('shared', 'X', sibling), await create('shared', 'X', foreign)];
  assert.equal(new Set(replies.map((reply) => reply.json.templateId)).size, 3);
  for (const reply of replies) assert.deepEqual([reply.status, reply.headers['idempotency-replayed']], [201, undefined]);
});

test('a refusal is given again too; a failure on our side is not, and may be tried again', async () => {
  const { templateId } = (await create('broken-template', 'broken')).json;
  await web.ask(`/api/v1/templates/${templateId}`, { method: 'PATCH', headers: mine, body: { draft: { ...draft, body: '{% broken %}' } } });
  const publish = (key: string) => web.ask(`/api/v1/templates/${templateId}/publish`, { method: 'POST', headers: { ...mine, 'Idempotency-Key': key } });
  const [refused, again] = [await publish('refused'), await publish('refused')];
  assert.deepEqual([refused.status, refused.json.reason], [400, 'template_invalid']);
  assert.equal(again.text, refused.text);

  await web.ask(`/api/v1/templates/${templateId}`, { method: 'PATCH', headers: mine, body: { draft } });
  web.notification.beforeCompiling = () => Promise.reject(new Fault('unavailable', 'No renderer.'));
  assert.equal((await publish('failed')).status, 503);
  web.notification.beforeCompiling = async () => {};
  assert.equal((await publish('failed')).status, 200);
});

test('a secret that is shown once is shown again to the same key only, and the database can not tell it', async () => {
  const make = (key: string) => web.ask('/api/v1/api-keys', { method: 'POST', headers: { ...mine, 'Idempotency-Key': key }, body: { name: 'k', scopes: ['read'] } });
  const first = await make('secret');
  assert.equal((await make('secret')).json.secret, first.json.secret);
  assert.equal((await web.ask('/api/v1/people', { headers: bearer(first.json.secret) })).status, 200);
});

for (const key of ['', 'x'.repeat(256), 'a b', 'ü']) {
  test(`the key ${JSON.stringify(key.slice(0, 10))} is refused`, async () => {
    const reply = await web.ask('/api/v1/templates', { method: 'POST', headers: { ...mine, 'Idempotency-Key': Buffer.from(key).toString('latin1') }, body: { name: 'x', draft } });
    assert.equal(reply.status, 400, reply.text);
    assert.equal(reply.json.errors[0].field, 'Idempotency-Key');
  });
}

test('answers are kept encrypted for 24 hours; a key that a crash left behind is free after two minutes', async () => {
  const clock = new FakeClock();
  const portal = await openPortalStore(clock);
  const idempotency = new Idempotency(clock, { publicUrl: 'http://x', secret: new Uint8Array(32) });
  const reserve = () => portal.store.transaction((tx) => idempotency.reserve(tx, ['w', 'api_key', 'k'], 'the-key', ['POST', '/x']));
  const answer = { status: 201, headers: {}, body: '{"secret":"ml_shown_once"}' };

  await reserve();
  await clock.advance(119_999);
  await assert.rejects(reserve(), (thrown) => Fault.is(thrown) && thrown.reason === 'idempotency_in_progress');
  await clock.advance(1);
  const held = await reserve();
  assert.ok('until' in held);
  await portal.store.transaction((tx) => idempotency.keep(tx, held, answer));
  const [row] = await portal.store.db.selectFrom('idempotency_keys').selectAll().execute();
  const stored = Buffer.concat([Buffer.from(row!.answer!), Buffer.from(row!.id + row!.fingerprint)]).toString('latin1');
  assert.ok(!stored.includes('ml_shown') && !stored.includes('the-key'));
  await clock.advance(24 * 3_600_000 - 1);
  assert.deepEqual(await reserve(), answer);
  await clock.advance(1);
  assert.ok('until' in (await reserve()));
  await portal.close();
});
