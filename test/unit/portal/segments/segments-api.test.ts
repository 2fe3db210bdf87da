import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bearer, type PortalWeb, type Reply, startPortalWeb } from '../../../support/portal-web.ts';

let web: PortalWeb;
let cookie: string;
let mine: Record<string, string>;
before(async () => {
  web = await startPortalWeb();
  ({ cookie } = await web.setUp());
  mine = bearer(await web.key(cookie));
});
after(() => web.close());

const ask = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Reply> => web.ask(`/api/v1${path}`, { method, headers: { ...mine, ...headers }, body });
const GOLD = { name: 'Gold', condition: { all: [{ field: 'person.plan', op: 'eq', value: 'gold' }, { field: 'person.email', op: 'exists' }] } };
const namesIn = (reply: Reply): string[] => reply.json.items.map((one: { userId: string }) => one.userId);
const ready = async (segmentId: string): Promise<Reply> => {
  for (;;) {
    const reply = await ask('GET', `/segments/${segmentId}`);
    if (reply.json.state === 'ready') return reply;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

test('a segment finds its people, follows them, is read page by page, changed and deleted', async () => {
  for (let i = 0; i < 6; i++) await ask('POST', '/people', { userId: `u${i}`, email: `p${i}@b.cd`, attributes: { plan: i % 2 === 0 ? 'gold' : 'home' } });
  const made = await ask('POST', '/segments', GOLD, { 'Idempotency-Key': 'once' });
  assert.deepEqual([made.status, made.json.state, made.headers.location], [201, 'filling', `/api/v1/segments/${made.json.segmentId}`], made.text);
  assert.equal((await ask('POST', '/segments', GOLD, { 'Idempotency-Key': 'once' })).json.segmentId, made.json.segmentId);
  const { segmentId } = made.json;
  const found = await ready(segmentId);
  assert.deepEqual([found.json.people, found.json.lookedAt, found.headers.etag], [3, 6, '"1"']);

  const first = await ask('GET', `/people?segment=${segmentId}&limit=2`);
  assert.deepEqual(namesIn(first), ['u4', 'u2']);
  const second = await ask('GET', `/people?segment=${segmentId}&limit=2&after=${first.json.next}`);
  assert.deepEqual([namesIn(second), second.json.next], [['u0'], null]);

  const { personId } = second.json.items[0];
  await ask('PATCH', `/people/${personId}`, { email: null });
  assert.deepEqual(namesIn(await ask('GET', `/people?segment=${segmentId}`)), ['u4', 'u2']);
  await ask('DELETE', `/people/${first.json.items[0].personId}`);
  assert.deepEqual(namesIn(await ask('GET', `/people?segment=${segmentId}`)), ['u2']);

  const wanted = { name: 'Home', condition: { field: 'person.plan', op: 'eq', value: 'home' } };
  assert.equal((await ask('PUT', `/segments/${segmentId}`, wanted, { 'If-Match': '"7"' })).json.reason, 'version_changed');
  assert.equal((await ask('PUT', `/segments/${segmentId}`, wanted, { 'If-Match': '"1"' })).status, 200);
  assert.equal((await ready(segmentId)).json.people, 3);
  assert.deepEqual(namesIn(await ask('GET', `/people?segment=${segmentId}`)), ['u5', 'u3', 'u1']);
  assert.deepEqual((await ask('GET', '/segments')).json.items.map(({ name, people }: { name: string; people: number }) => [name, people]), [['Home', 3]]);

  assert.equal((await ask('DELETE', `/segments/${segmentId}`)).status, 200);
  for (const path of [`/segments/${segmentId}`, `/people?segment=${segmentId}`]) assert.deepEqual([(await ask('GET', path)).status, (await ask('GET', path)).json.reason], [404, 'segment_not_found']);
  const audited = (await ask('GET', `/audit?targetId=${segmentId}`)).json.items.map(({ action, outcome }: { action: string; outcome: string }) => `${action} ${outcome}`);
  assert.deepEqual(audited, ['deleteSegment done', 'saveSegment done', 'saveSegment refused:version_changed', 'createSegment done']);
});

test('what means nothing, is too long, or is asked by whom it does not concern, is refused', async () => {
  const reasonOf = async (condition: unknown) => (await ask('POST', '/segments', { name: 'X', condition })).json.reason;
  for (const field of ['event.amount', 'record.updatedAt', 'person', 'person..x']) assert.equal(await reasonOf({ field, op: 'exists' }), 'fields_invalid', field);
  assert.equal(await reasonOf({ field: 'person.plan', op: 'gt', value: true }), 'condition_invalid');
  assert.equal(await reasonOf({ field: 'person.plan', op: 'eq', value: 'x'.repeat(20_000) }), 'condition_invalid');
  assert.equal((await ask('GET', '/people?segment=x&email=a')).json.reason, 'filters_exclusive');
  const reader = bearer(await web.key(cookie, ['read']));
  assert.equal((await ask('GET', '/segments', undefined, reader)).status, 200);
  assert.equal((await ask('POST', '/segments', GOLD, reader)).json.reason, 'scope_missing');
});
