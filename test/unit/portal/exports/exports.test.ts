import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { ExportHandler } from '../../../../modules/portal/exports/export-handler.ts';
import { exportRequested } from '../../../../modules/portal/exports/exports.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { statement, Store } from '../../../../src/ports/storage.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { longestTurn } from '../../../support/longest-turn.ts';
import { bearer, fromOurPage, startPortalWeb, type PortalWeb } from '../../../support/portal-web.ts';

interface Rig {
  readonly web: PortalWeb;
  readonly workspaceId: string;
  readonly store: Store<any>;
  ask(path: string, ask?: { method?: string; body?: unknown; headers?: Readonly<Record<string, string>> }): ReturnType<PortalWeb['ask']>;
  /** Asks for it and waits until it is over. */
  made(what: string, format: string, segment?: string): Promise<any>;
}

let shared: PortalWeb;
let owner: string;

before(async () => {
  shared = await startPortalWeb();
  ({ cookie: owner } = await shared.setUp());
});
after(() => shared.close());

/** A new workspace. */
async function rig(): Promise<Rig> {
  const { workspaceId } = (await shared.ask('/api/v1/workspaces', { method: 'POST', headers: fromOurPage(owner), body: { name: 'Another' } })).json;
  return rigOf(shared, workspaceId, await shared.key(owner, undefined, workspaceId));
}

/** The only workspace of an installation whose clock the test holds. */
async function rigWith(t: TestContext, clock: FakeClock): Promise<Rig> {
  const web = await startPortalWeb({ clock });
  t.after(() => web.close());
  const { cookie, workspaceId } = await web.setUp();
  return rigOf(web, workspaceId, await web.key(cookie));
}

function rigOf(web: PortalWeb, workspaceId: string, secret: string): Rig {
  const ask: Rig['ask'] = (path, wanted = {}) => web.ask(`/api/v1${path}`, { ...wanted, headers: { ...bearer(secret), ...wanted.headers } });
  return {
    web,
    workspaceId,
    store: web.composition.part('portal', Store as never),
    ask,
    async made(what, format, segment) {
      const asked = await ask('/exports', { method: 'POST', body: { what, format, segment } });
      assert.equal(asked.status, 202, asked.text);
      for (;;) {
        const { json } = await ask(`/exports/${asked.json.exportId}`);
        if (json.state !== 'running') return json;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
  };
}

async function addPeople(store: Store<any>, workspace: string, count: number, over: object = {}): Promise<void> {
  const row = { id: '', workspace_id: workspace, version: 1, user_id: null, email: null, email_key: null, attributes_json: '{}', stamps_json: '{}', time_zone: null, consent_email: 'unknown', consent_by: 'nobody', consent_at: 0, gone: 0, merged_into: null, created_at: 1, updated_at: 2, ...over };
  const insert = statement<any, any>()((db, p) => db.insertInto('people').values(Object.fromEntries(Object.keys(row).map((column) => [column, p(column)]))));
  await store.transaction(async (tx) => {
    for (let n = 0; n < count; n++) await tx.run(insert, { ...row, id: `${workspace} ${String(n).padStart(7, '0')}` });
  }, { timeoutMs: 60_000 });
}

const AWKWARD = { user_id: 'a "b", c', email: ' =1+1@example.com', attributes_json: '{"note":"naïve\\n🎉","n":1.5}' };

test('everybody of one workspace who is there, as CSV and as NDJSON, and nobody else', async () => {
  const { store, workspaceId, ask, made } = await rig();
  await addPeople(store, workspaceId, 1, AWKWARD);
  await addPeople(store, 'another', 3);
  await addPeople(store, `${workspaceId}`.slice(0, -1), 2);
  await store.transaction(async (tx) => void (await tx.db.insertInto('people').values({ id: 'gone', workspace_id: workspaceId, version: 1, user_id: null, email: null, email_key: null, attributes_json: '{}', stamps_json: '{}', time_zone: null, consent_email: 'unknown', consent_by: 'nobody', consent_at: 0, gone: 1, merged_into: null, created_at: 1, updated_at: 2 }).execute()));
  const csv = await made('people', 'csv');
  const id = `${workspaceId} 0000000`;
  const file = await ask(`/exports/${csv.exportId}/content`);
  assert.equal(file.text, `personId,userId,email,timeZone,consentEmail,attributes,createdAt,updatedAt\r\n${id},"a ""b"", c",' =1+1@example.com,,unknown,"{""note"":""naïve\\n🎉"",""n"":1.5}",1,2\r\n`);
  assert.deepEqual([file.status, file.headers['content-type'], file.headers['content-disposition'], Number(file.headers['content-length'])], [200, 'text/csv; charset=utf-8', 'attachment; filename="people.csv"', csv.bytes]);
  const ndjson = await made('people', 'ndjson');
  const lines = (await ask(`/exports/${ndjson.exportId}/content`)).text.trimEnd().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(lines, [{ personId: id, userId: AWKWARD.user_id, email: AWKWARD.email, timeZone: null, consentEmail: 'unknown', attributes: { note: 'naïve\n🎉', n: 1.5 }, createdAt: 1, updatedAt: 2 }]);
  assert.deepEqual((await ask('/exports')).json.items.map(({ rows, state }: any) => [rows, state]), [[1, 'done'], [1, 'done']]);
  const fetched = (await ask('/audit?action=getExportContent')).json.items;
  assert.deepEqual(fetched.map(({ targetId, outcome }: any) => [targetId, outcome]), [[ndjson.exportId, 'done'], [csv.exportId, 'done']]);
});

test('many rows go out in one state, with no long turn of the event loop', { timeout: 60_000 }, async (t) => {
  const { store, workspaceId, ask, made } = await rig();
  const insert = statement<any, any>()((db, p) => db.insertInto('events').values({ id: p('id'), workspace_id: p('workspace'), person_id: 'p', type: 'track', name: 'Quote Requested', properties_json: '{"line":"Auto","estimate":640}', context_json: null, time: 1, received_at: 2 }));
  const COUNT = 20_000;
  for (let from = 0; from < COUNT; from += 2_000) {
    await store.transaction(async (tx) => {
      for (let n = from; n < from + 2_000; n++) await tx.run(insert, { id: `e${String(n).padStart(6, '0')}`, workspace: workspaceId });
    });
  }
  const longest = longestTurn(t);
  const done = await made('events', 'ndjson');
  const text = (await ask(`/exports/${done.exportId}/content`)).text.trimEnd().split('\n');
  t.diagnostic(`longest turn ${Math.round(longest.ms())} ms`);
  assert.deepEqual([done.rows, text.length], [COUNT, COUNT]);
  assert.deepEqual(JSON.parse(text.at(-1)!), { eventId: 'e019999', personId: 'p', type: 'track', name: 'Quote Requested', properties: { line: 'Auto', estimate: 640 }, context: null, time: 1, receivedAt: 2 });
  assert.ok(longest.ms() < 50, `a turn of ${longest.ms()} ms`);
});

test("a segment's people are exported once all of them have been found, and only people", async () => {
  const { web, store, workspaceId, ask, made } = await rig();
  for (const plan of ['gold', 'home', 'gold']) await ask('/people', { method: 'POST', body: { attributes: { plan } } });
  const { segmentId } = (await ask('/segments', { method: 'POST', body: { name: 'Gold', condition: { field: 'person.plan', op: 'eq', value: 'gold' } } })).json;
  while ((await ask(`/segments/${segmentId}`)).json.state !== 'ready') await new Promise((resolve) => setTimeout(resolve, 5));
  const done = await made('people', 'ndjson', segmentId);
  const file = await ask(`/exports/${done.exportId}/content`);
  assert.deepEqual([done.segment, done.rows, file.text.match(/gold/g)?.length, file.text.includes('home')], [segmentId, 2, 2, false]);

  const refused = async (body: object) => (await ask('/exports', { method: 'POST', body })).json.reason;
  assert.deepEqual([await refused({ what: 'events', segment: segmentId }), await refused({ what: 'people', segment: 'unknown' })], ['segment_of_people', 'segment_not_found']);

  const handler = web.composition.part('portal', ExportHandler);
  const row = { ...(await store.db.selectFrom('exports').selectAll().where('id', '=', done.exportId).executeTakeFirst()), id: 'early', state: 'running' };
  await store.transaction(async (tx) => void (await tx.db.insertInto('exports').values(row).execute()));
  const outcome = async () => {
    const again = await handler.perform({ id: 'm', name: exportRequested.name, workspace: workspaceId, payload: { exportId: 'early' }, time: 0, trace: { traceId: 't', spanId: 's' }, attempt: 1, last: false }, new AbortController().signal);
    return [again?.reason, (await ask('/exports/early')).json.reason];
  };
  await store.transaction(async (tx) => void (await tx.db.updateTable('segments').set({ filled_to: '' }).execute()));
  assert.deepEqual(await outcome(), ['segment_filling', null]);
  await store.transaction(async (tx) => void (await tx.db.deleteFrom('segments').execute()));
  assert.deepEqual(await outcome(), [undefined, 'segment_not_found']);
});

test('another workspace, an unknown id and a file that is not there yet are told apart', async () => {
  const { web, ask, made, store, workspaceId } = await rig();
  const { exportId } = await made('people', 'csv');
  await store.transaction(async (tx) => {
    await tx.db.updateTable('exports').set({ workspace_id: 'another' }).where('id', '=', exportId).execute();
    await tx.db.insertInto('exports').values({ id: 'slow', workspace_id: workspaceId, what: 'people', format: 'csv', state: 'running', reason: null, rows: null, bytes: null, created_at: 1, created_by: 'u', expires_at: Date.now() + 1e6 }).execute();
  });
  for (const id of [exportId, 'never']) {
    for (const [method, path] of [['GET', ''], ['GET', '/content'], ['DELETE', '']]) {
      const { status, json } = await ask(`/exports/${id}${path}`, { method: method! });
      assert.deepEqual([status, json.reason], [404, 'export_not_found'], `${method} ${path}`);
    }
  }
  assert.equal((await ask('/exports/slow/content')).json.reason, 'export_not_done');
  assert.match((await ask('/audit?action=getExportContent')).json.items[0].outcome, /^refused:export_not_done$/);
  assert.equal((await ask('/exports', { method: 'POST', body: { what: 'users' } })).status, 400);
  assert.equal((await web.ask('/api/v1/exports')).status, 401);
});

test('a deleted export takes its file with it, and so does one whose time is over', async (t) => {
  const clock = new FakeClock(Date.now());
  const { web, ask, made, store, workspaceId } = await rigWith(t, clock);
  const folder = join(web.composition.dataDir, 'blobs/exports', workspaceId);
  const first = await made('people', 'csv');
  const second = await made('people', 'csv');
  assert.deepEqual(readdirSync(folder).sort(), [first.exportId, second.exportId].sort());
  assert.equal((await ask(`/exports/${first.exportId}`, { method: 'DELETE' })).status, 200);
  assert.deepEqual(readdirSync(folder), [second.exportId]);
  await clock.advance(600_000);
  assert.ok(existsSync(join(folder, second.exportId)));
  assert.equal(second.expiresAt - second.createdAt, 48 * 3_600_000);
  const sent = await ask('/imports', { method: 'POST', body: 'userId\na', headers: { 'Content-Type': 'text/csv' } });
  await store.transaction(async (tx) => {
    for (const table of ['exports', 'imports']) await tx.db.updateTable(table).set({ expires_at: clock.now() + 600_000 }).execute();
  });
  // The next round is set when the one before has ended, whenever that is.
  for (const kind of ['exports', 'imports']) while ((await ask(`/${kind}`)).json.items.length > 0) await clock.advance(600_000);
  assert.equal(existsSync(join(folder, second.exportId)), false);
  assert.equal(existsSync(join(web.composition.dataDir, 'blobs/imports', workspaceId, sent.json.importId)), false);
});

test('a workspace that has as many exports as it may is told to delete some, and then may have another', async () => {
  const { ask, made, store } = await rig();
  const { exportId } = await made('people', 'csv');
  const row = await store.db.selectFrom('exports').selectAll().where('id', '=', exportId).executeTakeFirst();
  await store.transaction(async (tx) => void (await tx.db.insertInto('exports').values(Array.from({ length: 49 }, (_, n) => ({ ...row, id: `full${n}` }))).execute()));
  const { status, json } = await ask('/exports', { method: 'POST', body: { what: 'people' } });
  assert.deepEqual([status, json.reason, json.details.remedy], [429, 'too_many_exports', 'Delete some, or wait until they expire.']);
  await ask(`/exports/${exportId}`, { method: 'DELETE' });
  assert.equal((await made('people', 'csv')).state, 'done');
});

test('the file of an export that was deleted while a process wrote it, and was killed, goes when its message comes again', async () => {
  const { web, made, store, workspaceId } = await rig();
  const { exportId } = await made('people', 'csv');
  await store.transaction(async (tx) => void (await tx.db.deleteFrom('exports').where('workspace_id', '=', workspaceId).execute()));
  const handler = web.composition.part('portal', ExportHandler);
  await handler.perform({ id: 'm', name: exportRequested.name, workspace: workspaceId, payload: { exportId }, time: 0, trace: { traceId: 't', spanId: 's' }, attempt: 2, last: false }, new AbortController().signal);
  assert.deepEqual(readdirSync(join(web.composition.dataDir, 'blobs/exports', workspaceId)), []);
});

test('a server for files that is away is waited for; what it refuses, and what takes too long, has failed', async (t) => {
  const clock = new FakeClock(Date.now());
  const { store, workspaceId } = await rigWith(t, clock);
  const row = { workspace_id: workspaceId, what: 'people', format: 'csv', state: 'running', reason: null, rows: null, bytes: null, created_by: 'u', expires_at: clock.now() + 1e9 };
  const cases: [string, Fault, number, unknown, string][] = [
    ['away', new Fault('unavailable', 'It is away.', { reason: 's3' }), 0, { notBefore: clock.now() + 10_000, reason: 's3' }, 'running'],
    ['away for long', new Fault('unavailable', 'It is away.', { reason: 's3' }), 7 * 3_600_000, undefined, 'failed'],
    ['refused', new Fault('denied', 'Wrong key.', { reason: 's3_denied' }), 0, undefined, 'failed'],
  ];
  for (const [id, fault, ageMs, outcome, state] of cases) {
    await store.transaction(async (tx) => void (await tx.db.insertInto('exports').values({ ...row, id, created_at: clock.now() - ageMs }).execute()));
    const blobs = { write: () => Promise.reject(fault) };
    const handler = new ExportHandler(store, blobs as never, clock);
    const received = { id: 'm', name: exportRequested.name, workspace: workspaceId, payload: { exportId: id }, time: 0, trace: { traceId: 't', spanId: 's' }, attempt: 1, last: false };
    assert.deepEqual(await handler.perform(received, new AbortController().signal), outcome, id);
    assert.equal((await store.db.selectFrom('exports').select('state').where('id', '=', id).executeTakeFirst())!.state, state, id);
  }
});

test('one that another process has finished stays finished, whatever comes of it here', async () => {
  const { store, workspaceId } = await rig();
  await store.transaction(async (tx) => void (await tx.db.insertInto('exports').values({ workspace_id: workspaceId, id: 'finished', what: 'people', format: 'csv', state: 'running', reason: null, rows: null, bytes: null, created_by: 'u', created_at: Date.now(), expires_at: Date.now() + 1e9 }).execute()));
  const removed: string[] = [];
  const blobs = {
    write: async () => {
      await store.transaction(async (tx) => void (await tx.db.updateTable('exports').set({ state: 'done', rows: 1, bytes: 9 }).where('id', '=', 'finished').execute()));
      throw new Fault('denied', 'Wrong key.', { reason: 's3_denied' });
    },
    remove: async (key: string) => void removed.push(key),
  };
  await new ExportHandler(store, blobs as never, new FakeClock(Date.now())).perform({ id: 'm', name: exportRequested.name, workspace: workspaceId, payload: { exportId: 'finished' }, time: 0, trace: { traceId: 't', spanId: 's' }, attempt: 1, last: false }, new AbortController().signal);
  assert.deepEqual(await store.db.selectFrom('exports').select(['state', 'rows']).where('id', '=', 'finished').execute(), [{ state: 'done', rows: 1 }]);
  assert.deepEqual(removed, []);
});
