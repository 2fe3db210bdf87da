import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { Users } from '../../../../modules/portal/access/users.ts';
import { Sessions } from '../../../../modules/portal/access/sessions.ts';
import { Store } from '../../../../src/ports/storage.ts';
import { withDeadLetters } from '../../../support/dead-letters.ts';
import { bearer, fromOurPage, type PortalWeb, type Reply, startPortalWeb } from '../../../support/portal-web.ts';

describe('the queues over the API', () => {
  let web: PortalWeb;
  let cookie: string;
  let [first, second] = ['', ''];
  let [firstKey, secondKey] = ['', ''];
  let queue: string;
  let made = 0;

  before(async () => {
    web = await startPortalWeb();
    ({ cookie, workspaceId: first } = await web.setUp());
    second = (await web.ask('/api/v1/workspaces', { method: 'POST', headers: fromOurPage(cookie), body: { name: 'Second' } })).json.workspaceId;
    [firstKey, secondKey] = [await web.key(cookie), await web.key(cookie, undefined, second)];
  });
  after(() => web.close());
  beforeEach(async () => {
    queue = `suite.mails-${made++}`;
    await withDeadLetters(
      web.composition.bus,
      queue,
      Array.from({ length: 7 }, (_, i) => ({ id: `m${i}`, workspace: i < 4 ? first : second, reason: i % 2 === 0 ? 'mailbox full' : 'no such user' })),
    );
  });

  const get = (path: string, headers: Record<string, string>): Promise<Reply> => web.ask(`/api/v1/queues${path}`, { headers });
  const post = (path: string, headers: Record<string, string>, body: object): Promise<Reply> => web.ask(`/api/v1/queues${path}`, { method: 'POST', headers, body });
  const key = () => bearer(firstKey);
  const other = () => bearer(secondKey);
  const operator = () => fromOurPage(cookie);
  const deadOf = async (headers: Record<string, string>) => (await get(`/${queue}`, headers)).json.dead as number;

  it('show an operator the whole, and a key its own workspace alone', async () => {
    const { json } = await get(`/${queue}`, operator());
    const { lastPublished, lastTaken, ...counts } = json;
    assert.deepEqual(counts, { name: queue, status: 'idle', depth: 0, ready: { urgent: 0, normal: 0, bulk: 0 }, waiting: 0, inFlight: 0, concurrency: 0, consumers: 0, dead: 7, oldestMs: null, paused: false, pausedWorkspaces: [] });
    assert.ok(lastPublished > 0 && lastTaken >= lastPublished);
    assert.deepEqual([await deadOf(key()), await deadOf(other())], [4, 3]);
    assert.equal((await get(`/${queue}?workspace=${second}`, operator())).json.dead, 3);
    const names = (await get('', key())).json.items.map((each: { name: string }) => each.name);
    assert.ok(names.includes(queue) && names.includes('portal.ingest-batch'));
    assert.deepEqual(names, names.toSorted());
  });

  it('are refused to a user who is no operator beyond the workspace of the membership', async () => {
    const [store, users, sessions] = [web.composition.part<Store<any>>('portal', Store as never), web.composition.part('portal', Users), web.composition.part('portal', Sessions)];
    const secret = await store.transaction(async (tx) => {
      const { userId } = await users.create(tx, `client-${made}@example.com`, 'no-password');
      await users.join(tx, userId, second, 'owner');
      return (await sessions.begin(tx, userId)).secret;
    });
    const client = fromOurPage(`session=${secret}`);
    assert.equal(await deadOf(client), 3);
    assert.equal((await get(`/${queue}?workspace=${first}`, client)).status, 404);
    await post(`/${queue}/pause`, client, {});
    assert.deepEqual((await get(`/${queue}`, operator())).json.pausedWorkspaces, [second]);
    const hosts = await web.ask('/api/v1/system/hosts', { headers: client });
    assert.deepEqual([hosts.status, hosts.json.reason], [403, 'operator_required']);
    const told = async (headers: Record<string, string>) => (await web.ask('/api/v1/session', { headers })).json.operator;
    assert.deepEqual([await told(client), await told(operator())], [false, true]);
  });

  it('tell nothing of another workspace, whatever is asked', async () => {
    const browse = async (query: string, headers: Record<string, string>) => (await get(`/${queue}/messages?dead=true${query}`, headers)).json.items.map((each: { id: string }) => each.id);
    assert.deepEqual(await browse('', key()), ['m0', 'm1', 'm2', 'm3']);
    assert.deepEqual(await browse('&id=m5', key()), []);
    assert.deepEqual(await browse('&id=m5', operator()), ['m5']);
    for (const path of ['', `/${queue}`, `/${queue}/messages`]) assert.deepEqual([(await get(`${path}?workspace=${second}`, key())).status, (await get(`${path}?workspace=nobody`, key())).status], [404, 404], path);
    const foreign = [
      await post(`/${queue}/requeue`, key(), { workspace: second }),
      await post(`/${queue}/purge`, key(), { workspace: second, dead: true }),
      await post(`/${queue}/pause`, key(), { workspace: second }),
      await post(`/${queue}/resume`, key(), { workspace: second }),
    ];
    assert.deepEqual(foreign.map(({ status, json }) => [status, json.reason]), Array(4).fill([404, 'workspace_not_found']));
    assert.deepEqual((await post(`/${queue}/requeue`, key(), { ids: ['m5', 'm6'] })).json, { requeued: 0, next: null });
    assert.deepEqual((await post(`/${queue}/purge`, key(), { all: true, dead: true })).json, { purged: 4, next: null });
    assert.deepEqual([await deadOf(key()), await deadOf(other())], [0, 3]);
  });

  it('show dead messages with reason and tries, personal fields redacted, page by page', async () => {
    const seen: any[] = [];
    for (let after: string | null = ''; after !== null; ) {
      const { json } = await get(`/${queue}/messages?dead=true&limit=2${after === '' ? '' : `&after=${encodeURIComponent(after)}`}`, operator());
      assert.ok(json.items.length <= 2);
      seen.push(...json.items);
      after = json.next;
    }
    assert.deepEqual(seen.map(({ id }) => id).toSorted(), ['m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6']);
    const { payload, time, due, history, ...one } = seen.find(({ id }) => id === 'm1');
    assert.deepEqual(one, { id: 'm1', name: 'suite.mail', workspace: first, key: null, lane: 'normal', attempts: 1, reason: 'no such user' });
    const [{ first: began, last, ...tries }, ...more] = history;
    assert.deepEqual([tries, more, began === last && began >= time], [{ times: 1, reason: 'no such user' }, [], true]);
    assert.deepEqual(JSON.parse(payload), { campaign: 'c-m1', email: '[redacted]' });
    assert.ok(!JSON.stringify(seen).includes('@customer.example') && time > 0 && due > 0);
    const page = (await get(`/${queue}/messages?dead=true&limit=2`, operator())).json;
    const elsewhere = await get(`/portal.ingest-batch/messages?dead=true&limit=2&after=${encodeURIComponent(page.next)}`, operator());
    assert.deepEqual([elsewhere.status, elsewhere.json.errors[0].field], [400, 'after']);
  });

  it('requeue and purge what the filter names, and note who did it', async () => {
    const ask = async (path: string, body: object) => (await post(`/${queue}/${path}`, key(), body)).json;
    assert.deepEqual(await ask('requeue', { reason: 'such user' }), { requeued: 2, next: null });
    assert.deepEqual((await get(`/${queue}`, key())).json.depth, 2);
    assert.equal((await get(`/${queue}`, key())).json.status, 'unattended');
    assert.deepEqual(await ask('purge', { dead: false, name: 'suite.mail' }), { purged: 2, next: null });
    assert.deepEqual(await ask('purge', { dead: true, before: 1_000 }), { purged: 0, next: null });
    assert.deepEqual(await ask('requeue', { ids: ['m0'], workspace: first }), { requeued: 1, next: null });
    const { items } = (await web.ask(`/api/v1/audit?targetId=${queue}`, { headers: key() })).json;
    assert.deepEqual(items.map((each: { action: string; outcome: string }) => [each.action, each.outcome]), [['requeueMessages', 'done'], ['purgeMessages', 'done'], ['purgeMessages', 'done'], ['requeueMessages', 'done']]);
  });

  it('pause and resume one workspace for its staff, and the whole queue for an operator', async () => {
    const paused = (await post(`/${queue}/pause`, key(), {})).json;
    assert.deepEqual([paused.status, paused.paused, paused.pausedWorkspaces], ['paused', false, [first]]);
    const unharmed = (await get(`/${queue}`, other())).json;
    assert.deepEqual([unharmed.status, unharmed.pausedWorkspaces], ['idle', []]);
    assert.equal((await post(`/${queue}/pause`, operator(), {})).json.paused, true);
    assert.equal((await get(`/${queue}`, other())).json.status, 'paused');
    assert.ok((await get('?status=paused', other())).json.items.some((each: { name: string }) => each.name === queue));
    await post(`/${queue}/resume`, operator(), {});
    assert.equal((await post(`/${queue}/resume`, key(), {})).json.status, 'idle');
  });

  it('say what is wrong with a question, and do nothing then', async () => {
    const wrong: [Promise<Reply>, number, string][] = [
      [get('/nowhere', key()), 404, 'queue_not_found'],
      [get('/nowhere/messages', key()), 404, 'queue_not_found'],
      [post('/nowhere/pause', key(), {}), 404, 'queue_not_found'],
      [post('/nowhere/requeue', key(), { all: true }), 404, 'queue_not_found'],
      [post(`/${queue}/requeue`, key(), {}), 400, 'messages_unnamed'],
      [post(`/${queue}/purge`, key(), { dead: true }), 400, 'messages_unnamed'],
      [post(`/${queue}/purge`, key(), { dead: true, all: true, ids: ['m1'] }), 400, 'messages_unnamed'],
      [post(`/${queue}/purge`, key(), { all: true }), 400, 'fields_invalid'],
      [post(`/${queue}/requeue`, key(), { all: true, after: 'x' }), 400, 'cursor_invalid'],
      [post(`/${queue}/requeue`, key(), { all: true, reson: 'x' }), 400, 'fields_invalid'],
      [post(`/${queue}/requeue`, key(), { ids: [] }), 400, 'fields_invalid'],
      [get(`/${queue}/messages?dead=maybe`, key()), 400, 'fields_invalid'],
      [get(`/${queue}/messages?limit=0`, key()), 400, 'fields_invalid'],
      [get(`/${queue}/messages?before=yesterday`, key()), 400, 'fields_invalid'],
      [get('?status=asleep', key()), 400, 'fields_invalid'],
      [get('', bearer(await web.key(cookie, ['ingest']))), 403, 'scope_missing'],
      [post(`/${queue}/purge`, bearer(await web.key(cookie, ['read', 'write'])), { dead: true, all: true }), 403, 'scope_missing'],
    ];
    for (const [asked, status, reason] of wrong) {
      const reply = await asked;
      assert.deepEqual([reply.status, reply.json.reason], [status, reason], reply.text);
    }
    assert.equal(await deadOf(operator()), 7);
  });
});
