import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { blobDrivers } from '../../../../adapters/blob/catalog.ts';
import { ImportHandler } from '../../../../modules/portal/imports/import-handler.ts';
import { importRequested } from '../../../../modules/portal/imports/imports.ts';
import { IdentityHashes } from '../../../../modules/portal/people/identity-hashes.ts';
import { LiveSegments } from '../../../../modules/portal/segments/live-segments.ts';
import type { Received } from '../../../../src/kernel/message.ts';
import type { Blobs } from '../../../../src/ports/blob.ts';
import { Store } from '../../../../src/ports/storage.ts';
import { testContext } from '../../../support/context.ts';
import { longestTurn } from '../../../support/longest-turn.ts';
import { bearer, fromOurPage, type PortalWeb, type Reply, startPortalWeb } from '../../../support/portal-web.ts';
import { S3Server } from '../../../support/s3.ts';

/** A workspace with a key of its own. */
interface Place {
  readonly workspaceId: string;
  ask(path: string, ask?: { method?: string; body?: unknown; headers?: Readonly<Record<string, string>> }): Promise<Reply>;
  send(file: string | Uint8Array, options?: { type?: string; headers?: Readonly<Record<string, string>> }): Promise<Reply>;
  /** Sends it and waits until it is over. */
  imported(file: string | Uint8Array, type?: string): Promise<any>;
  exported(format: string): Promise<string>;
  people(): Promise<any[]>;
}

let web: PortalWeb;
let cookie: string;
let store: Store<any>;
const CSV = 'text/csv';
const NDJSON = 'application/x-ndjson';
/** For what is waited for until it is seen. */
const WITHIN = { timeout: 60_000 };

before(async () => {
  web = await startPortalWeb({ settings: { importMaxBytes: 16_000_000 } });
  ({ cookie } = await web.setUp());
  store = web.composition.part('portal', Store as never);
});
after(() => web.close());

async function place(): Promise<Place> {
  const { workspaceId } = (await web.ask('/api/v1/workspaces', { method: 'POST', headers: fromOurPage(cookie), body: { name: 'Another' } })).json;
  return placeOf(web, workspaceId, await web.key(cookie, undefined, workspaceId));
}

/** The first workspace of an installation whose files lie there. */
async function placeWith(t: TestContext, blobs: Blobs): Promise<Place> {
  const other = await startPortalWeb({ blobs });
  t.after(() => other.close());
  const owner = await other.setUp();
  return placeOf(other, owner.workspaceId, await other.key(owner.cookie));
}

function placeOf(of: PortalWeb, workspaceId: string, secret: string): Place {
  const ask: Place['ask'] = (path, wanted = {}) => of.ask(`/api/v1${path}`, { ...wanted, headers: { ...bearer(secret), ...wanted.headers } });
  const over = async (path: string): Promise<any> => {
    for (;;) {
      const { json } = await ask(path);
      if (json.state !== 'running') return json;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const send: Place['send'] = (file, { type = CSV, headers = {} } = {}) => ask('/imports', { method: 'POST', body: file, headers: { 'Content-Type': type, ...headers } });
  return {
    workspaceId,
    ask,
    send,
    async imported(file, type = CSV) {
      const sent = await send(file, { type });
      assert.deepEqual([sent.status, sent.headers.location], [202, `/api/v1/imports/${sent.json.importId}`], sent.text);
      return over(`/imports/${sent.json.importId}`);
    },
    async exported(format) {
      const { exportId } = (await ask('/exports', { method: 'POST', body: { what: 'people', format } })).json;
      await over(`/exports/${exportId}`);
      return (await ask(`/exports/${exportId}/content`)).text;
    },
    people: async () => (await ask('/people?limit=200')).json.items,
  };
}

const WORD = 'naïve "q", \'=1+1\n\u2028 עברית 🎉 \u{1d11e} \u{e0001} \u{10fffd}';
const ATTRIBUTES = { [WORD]: WORD, zip: '01234', n: -1.5e-7, big: 9_007_199_254_740_991, yes: true, no: false, none: { inner: null, list: [1, null, 'x', {}] }, empty: '', constructor: 'c' };
const essence = (people: any[]) => people.map(({ userId, email, timeZone, attributes, consent }) => ({ userId, email, timeZone, attributes, consent })).sort((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));

test('what an export of people holds goes into another workspace whole, and back into its own without a change, as CSV and as NDJSON', async () => {
  const home = await place();
  const people = [
    { userId: WORD, email: 'ana@example.com', timeZone: 'Europe/Berlin', attributes: ATTRIBUTES, consent: 'granted' },
    { userId: "'=guarded", email: 'Shared@example.com' },
    { userId: '=1+1', attributes: { n: 1 } },
    { email: 'shared@example.com', attributes: { mailbox: 'ours' }, consent: 'denied' },
    { attributes: { nameless: true } },
  ];
  for (const body of people) assert.equal((await home.ask('/people', { method: 'POST', body })).status, 201);
  const before = await home.people();
  for (const [format, type] of [['csv', CSV], ['ndjson', NDJSON]] as const) {
    const file = await home.exported(format);
    const { state, rowsRead, rowsAccepted, bytes, bytesRead } = await home.imported(file, type);
    assert.deepEqual([state, rowsRead, rowsAccepted, bytes, bytesRead], ['done', 5, 5, Buffer.byteLength(file), bytes]);
    assert.deepEqual(await home.people(), before, format);
    const other = await place();
    for (const time of ['first', 'second']) {
      await other.imported(file, type);
      assert.deepEqual(essence(await other.people()), essence(before), `${format}, ${time}`);
    }
  }
});

test('an opted-out person stays so whatever a list says, and a list opts out for good', async () => {
  const { ask, imported, people, workspaceId } = await place();
  const made = async (userId: string, consent: string, by: 'api' | 'traits') => {
    if (by === 'api') return ask('/people', { method: 'POST', body: { userId, consent } });
    return imported(JSON.stringify({ userId, consentEmail: consent }), NDJSON);
  };
  await made('staff', 'denied', 'api');
  await made('listed', 'denied', 'traits');
  await made('glad', 'granted', 'traits');
  await made('site', 'denied', 'traits');
  // As an identify of hers leaves it, and not a list.
  await store.transaction(async (tx) => void (await tx.db.updateTable('people').set({ consent_by: 'traits' }).where('workspace_id', '=', workspaceId).where('user_id', '=', 'site').execute()));
  for (const word of ['granted', 'unknown']) await imported(`userId,consentEmail,unsubscribed\nstaff,${word},false\nlisted,${word},false\nsite,${word},false\nglad,${word},`);
  await imported('{"userId":"glad2","attributes":{"emailConsent":"granted","unsubscribed":true}}', NDJSON);
  const found = async () => Object.fromEntries((await people()).map(({ userId, consent, consentBy }) => [userId, `${consent.email} by ${consentBy}`]));
  assert.deepEqual(await found(), { staff: 'denied by api', listed: 'denied by api', site: 'denied by traits', glad: 'granted by traits', glad2: 'denied by api' });
  await imported('userId,unsubscribed\nglad,true');
  assert.equal((await found()).glad, 'denied by api');
  for (const userId of ['ann', 'bob']) await ask('/people', { method: 'POST', body: { userId, email: 'shared@example.com', consent: 'granted' } });
  await ask('/people', { method: 'POST', body: { userId: 'zoe', email: 'zoe@example.com', consent: 'granted' } });
  const { rowsAccepted, rowsRefused } = await imported('userId,email,unsubscribed,timeZone\n,SHARED@example.com,true,\n,zoe@example.com,true,Mars/Base\nnobody,,true,Mars/Base');
  const { ann, bob, zoe, nobody } = await found();
  assert.deepEqual([rowsAccepted, rowsRefused, ann, bob, zoe, nobody], [0, 3, 'denied by api', 'denied by api', 'denied by api', undefined], 'though the rows are refused');
});

test('a row is whom its userId, its personId or its address names; who was deleted does not come back by her own id', async () => {
  const { ask, imported, people } = await place();
  const ana = (await ask('/people', { method: 'POST', body: { userId: 'ana', email: 'ana@example.com' } })).json;
  const gone = (await ask('/people', { method: 'POST', body: { email: 'gone@example.com' } })).json;
  const visitor = (await ask('/people', { method: 'POST', body: { email: 'visitor@example.com' } })).json;
  await ask(`/people/${gone.personId}`, { method: 'DELETE' });
  const rows = ['personId,userId,email,n:number', ',,ANA@example.com,1', ',,new@example.com,2', ',,NEW@example.com,3', `${gone.personId},,gone@example.com,4`, `${visitor.personId},vic,visitor@example.com,5`, `${ana.personId},,,6`, ',twin,ana@example.com,7', ',,ana@example.com,8'];
  const outcome = await imported(rows.join('\n'));
  assert.deepEqual([outcome.rowsAccepted, outcome.rowsRefused], [6, 2]);
  const found = (await people()).map(({ personId, userId, email, attributes }) => [personId === ana.personId ? 'ana' : personId === visitor.personId ? 'visitor' : 'new', userId, email, attributes.n]);
  assert.deepEqual(found.sort(), [['ana', 'ana', 'ANA@example.com', 6], ['new', null, 'NEW@example.com', 3], ['new', 'twin', 'ana@example.com', 7], ['visitor', 'vic', 'visitor@example.com', 5]].sort());
  const refused = await ask(`/imports/${outcome.importId}/refused`);
  assert.equal(refused.text, 'line,column,reason\r\n5,,erased\r\n9,,email_ambiguous\r\n');
  assert.deepEqual([refused.headers['content-type'], refused.headers['content-disposition']], ['text/csv; charset=utf-8', 'attachment; filename="refused.csv"']);
});

test('whoever is deleted after a file was sent does not come back by her address, and does by a file that is sent then', WITHIN, async () => {
  const { ask, imported, people, workspaceId } = await place();
  const { personId } = (await ask('/people', { method: 'POST', body: { email: 'Gone@example.com', consent: 'denied' } })).json;
  const received = await running(workspaceId, 'before');
  await ask(`/people/${personId}`, { method: 'DELETE' });
  const file = 'email,consentEmail\ngone@EXAMPLE.com,granted';
  const blobs = { read: async function* () { yield Buffer.from(file); }, remove: async () => {} };
  await handlerOver(blobs as never).perform(received, new AbortController().signal);
  assert.deepEqual([await people(), (await ask('/imports/before/refused')).text], [[], 'line,column,reason\r\n2,,erased\r\n']);
  assert.equal((await imported(file)).rowsAccepted, 1);
});

test('a file that cannot be read has failed and says why; the file is gone, what became of it is not', WITHIN, async () => {
  const { imported, workspaceId, ask } = await place();
  const failed = await imported('name,city\nx,y');
  assert.deepEqual([failed.state, failed.reason, failed.rowsRead], ['failed', 'identity_column_missing', 0]);
  assert.ok(failed.finishedAt >= failed.createdAt && failed.expiresAt === failed.finishedAt + 48 * 3_600_000);
  const folder = join(web.composition.dataDir, 'blobs/imports', workspaceId);
  while (existsSync(join(folder, failed.importId))) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual((await ask('/imports')).json.items.map(({ importId }: any) => importId), [failed.importId]);
});

test('the same Idempotency-Key with the same file is one import; with another file it is refused, and nothing is left of either', async () => {
  const { send, ask, workspaceId } = await place();
  const headers = { 'Idempotency-Key': 'once' };
  const first = await send('userId\na', { headers });
  const again = await send('userId\na', { headers });
  assert.deepEqual([again.status, again.text, again.headers['idempotency-replayed']], [202, first.text, 'true']);
  const other = await send('userId\nb', { headers });
  assert.deepEqual([other.status, other.json.reason], [422, 'idempotency_key_reused']);
  assert.equal((await ask('/imports')).json.items.length, 1);
  const entries = (await ask('/audit?action=createImport')).json.items;
  assert.deepEqual(entries.map(({ outcome, targetId }: any) => [outcome, targetId]), [['done', first.json.importId]], workspaceId);
});

test('what is no import is refused: its type, its size, its sender, too many at once', async () => {
  const { send, ask, workspaceId } = await place();
  const reasonOf = ({ status, json }: Reply) => [status, json.reason];
  for (const type of ['application/json', 'text/csv; charset=iso-8859-1', 'text/plain']) assert.deepEqual(reasonOf(await send('userId\na', { type })), [415, 'content_type_not_supported']);
  assert.deepEqual(reasonOf(await send('userId\na', { headers: { 'Content-Encoding': 'gzip' } })), [415, 'content_type_not_supported']);
  assert.deepEqual(reasonOf(await send('x', { headers: { 'Content-Length': '16000001' } })), [413, 'body_too_large']);
  assert.deepEqual(reasonOf(await web.ask('/api/v1/imports', { method: 'POST', body: 'userId\na', headers: { 'Content-Type': CSV } })), [401, 'login_required']);
  const readOnly = await web.key(cookie, ['read'], workspaceId);
  assert.deepEqual(reasonOf(await web.ask('/api/v1/imports', { method: 'POST', body: 'userId\na', headers: { 'Content-Type': CSV, ...bearer(readOnly) } })), [403, 'scope_missing']);
  const sent = (await send('userId\na')).json;
  const elsewhere = await place();
  for (const [method, path] of [['GET', ''], ['GET', '/refused'], ['DELETE', '']]) assert.deepEqual(reasonOf(await elsewhere.ask(`/imports/${sent.importId}${path}`, { method: method! })), [404, 'import_not_found']);
  const row = await store.db.selectFrom('imports').selectAll().where('id', '=', sent.importId).executeTakeFirst();
  await store.transaction(async (tx) => void (await tx.db.insertInto('imports').values(Array.from({ length: 49 }, (_, n) => ({ ...row, id: `full${n}`, workspace_id: workspaceId }))).execute()));
  assert.deepEqual(reasonOf(await send('userId\na')), [429, 'too_many_imports']);
  assert.equal((await ask('/imports/full7', { method: 'DELETE' })).status, 200);
  assert.equal((await send('userId\na')).status, 202);
});

test('of a file that is cut off on its way, or that the disk has no room for, nothing is left', WITHIN, async (t) => {
  const { ask, send, workspaceId } = await place();
  const secret = await web.key(cookie, undefined, workspaceId);
  const cuts = Array.from({ length: 3 }, () => request({ port: web.port, path: '/api/v1/imports', method: 'POST', headers: { ...bearer(secret), 'Content-Type': CSV, 'Content-Length': 1_000 } }));
  for (const cut of cuts) cut.on('error', () => {}).write('userId\na\n');
  const seen = async (count: number) => {
    while ((await ask('/imports')).json.items.length !== count) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await seen(3);
  assert.equal((await ask('/imports')).json.items[0].state, 'arriving');
  const more = await send('userId\na');
  assert.deepEqual([more.status, more.json.reason, more.headers['retry-after']], [429, 'overloaded', '10']);
  assert.equal((await (await place()).send('userId\na')).status, 202, 'another workspace has room');
  for (const cut of cuts) cut.destroy();
  await seen(0);
  const full = await placeWith(t, blobDrivers.fs.create(blobDrivers.fs.settings.parse({ minFreeBytes: Number.MAX_SAFE_INTEGER }), { ...testContext(), dataDir: web.composition.dataDir }));
  const { status, json } = await full.send('userId\na');
  assert.deepEqual([status, json.reason], [429, 'disk_full']);
  assert.deepEqual((await full.ask('/imports')).json.items, []);
});

test('a stop does not wait for the end of a file, which is read on after the next start', WITHIN, async () => {
  const disk = blobDrivers.fs.create(blobDrivers.fs.settings.parse({}), testContext());
  const slow: Blobs = {
    spansHosts: false,
    start: () => disk.start(),
    stop: (deadlineMs) => disk.stop(deadlineMs),
    check: () => disk.check(),
    remove: (key) => disk.remove(key),
    write: (key, content, signal) => disk.write(key, content, signal),
    async *read(key, signal) {
      yield* disk.read(key, signal);
      await once(signal, 'abort');
      throw signal.reason;
    },
  };
  const host = await startPortalWeb({ blobs: slow });
  const owner = await host.setUp();
  const { ask, send } = placeOf(host, owner.workspaceId, await host.key(owner.cookie));
  const { importId } = (await send(SEVEN_HUNDRED)).json;
  while ((await ask(`/imports/${importId}`)).json.rowsRead === 0);
  const began = performance.now();
  await host.close();
  assert.ok(performance.now() - began < 4_000, `it took ${performance.now() - began} ms of the 10 s that it may`);
});

/** Files of an import lie elsewhere, and reading them can be watched. */
function handlerOver(blobs: Pick<Blobs, 'read' | 'remove'>): ImportHandler {
  return new ImportHandler(store, blobs as Blobs, { now: Date.now } as never, web.composition.part('portal', IdentityHashes), web.composition.part('portal', LiveSegments), { keepMs: 1_000 });
}

async function running(workspaceId: string, importId: string): Promise<Received<{ importId: string }>> {
  const now = Date.now();
  const row = { id: importId, workspace_id: workspaceId, format: 'csv', state: 'running', reason: null, bytes: 1, position: 0, line: 1, accepted: 0, refused: 0, created_at: now, created_by: 'u', started_at: null, progressed_at: now, finished_at: null, expires_at: now + 1e9 };
  await store.transaction(async (tx) => void (await tx.db.insertInto('imports').values(row).execute()));
  return { id: importId, name: importRequested.name, workspace: workspaceId, payload: { importId }, time: now, trace: { traceId: 't', spanId: 's' }, attempt: 1, last: false };
}

/** Two rows of each person, which a batch takes as one change: taken again they would be two more. */
const SEVEN_HUNDRED = ['userId,n:number', ...Array.from({ length: 700 }, (_, n) => `u${n >> 1},${n % 100 === 5 ? 'x' : n}`)].join('\n');

test('cut off again and again it goes on at its batch: every row has its effect once, and what was deleted meanwhile stops', async () => {
  const { workspaceId, ask } = await place();
  const received = await running(workspaceId, 'cut');
  const versions = async () => Number((await store.db.selectFrom('people').select((eb) => eb.fn.sum('version').as('versions')).where('workspace_id', '=', workspaceId).executeTakeFirstOrThrow()).versions);
  const accepted: number[] = [];
  for (;;) {
    const stop = new AbortController();
    const blobs = {
      async *read() {
        const bytes = Buffer.from(SEVEN_HUNDRED);
        yield bytes.subarray(0, 5_000);
        // Some batches later the process is told to stop.
        if (accepted.length < 3) stop.abort();
        yield bytes.subarray(5_000);
      },
      remove: async () => {},
    };
    const again = await handlerOver(blobs).perform(received, stop.signal);
    const { json } = await ask('/imports/cut');
    accepted.push(json.rowsAccepted);
    if (again === undefined) break;
    assert.equal(again.reason, 'stopping');
  }
  assert.deepEqual([accepted.at(-1), await versions(), (await ask('/imports/cut')).json.state], [693, 350, 'done'], `after ${accepted}`);
  assert.match((await ask('/imports/cut/refused')).text, /^line,column,reason\r\n7,n:number,number_invalid\r\n107,[\s\S]*\r\n607,n:number,number_invalid\r\n$/);
  const second = await running(workspaceId, 'deleted');
  const removed: string[] = [];
  const blobs = {
    async *read() {
      yield Buffer.from(`userId\nbefore\n${'same\n'.repeat(300)}`);
      await ask('/imports/deleted', { method: 'DELETE' });
      yield Buffer.from('\nafter\n');
    },
    remove: async (key: string) => void removed.push(key),
  };
  assert.equal(await handlerOver(blobs).perform(second, new AbortController().signal), undefined);
  assert.deepEqual([(await ask('/people?userId=before')).json.items.length, (await ask('/people?userId=after')).json.items.length], [1, 0]);
});

test('of two processes that read the same file one goes on', async () => {
  const { workspaceId, ask } = await place();
  const received = await running(workspaceId, 'twice');
  const blobs = { read: async function* () { yield Buffer.from(SEVEN_HUNDRED); }, remove: async () => {} };
  await Promise.all([1, 2].map(() => handlerOver(blobs as never).perform(received, new AbortController().signal)));
  const { rowsAccepted, rowsRefused, state } = (await ask('/imports/twice')).json;
  assert.deepEqual([rowsAccepted, rowsRefused, state], [693, 7, 'done']);
});

test('one that is read elsewhere is looked at again, since whoever reads it may have lost the message and end', WITHIN, async () => {
  const { workspaceId, ask } = await place();
  const received = await running(workspaceId, 'lost');
  const remove = async () => {};
  const stop = new AbortController();
  const first = { async *read() { yield Buffer.from(SEVEN_HUNDRED.slice(0, 5_000)); stop.abort(); yield Buffer.from(SEVEN_HUNDRED.slice(5_000)); }, remove };
  const second = { async *read() { await handlerOver(first as never).perform(received, stop.signal); yield Buffer.from(SEVEN_HUNDRED); }, remove };
  const again = await handlerOver(second as never).perform(received, new AbortController().signal);
  assert.deepEqual([again?.reason, (await ask('/imports/lost')).json.state], ['read_elsewhere', 'running']);
});

test('a large file goes through with no long turn of the event loop', WITHIN, async (t) => {
  const { imported } = await place();
  const notes = 'x'.repeat(400);
  const lines = Array.from({ length: 3_000 }, (_, n) => `p${n % 1_000},p${n % 1_000}@example.com,${n},${notes}`);
  const file = Buffer.from(['userId,email,n:number,note', ...lines].join('\n'));
  const longest = longestTurn(t);
  const done = await imported(file);
  t.diagnostic(`${(file.length / 1e6).toFixed(1)} MB in ${done.finishedAt - done.createdAt} ms, longest turn ${Math.round(longest.ms())} ms`);
  assert.deepEqual([done.state, done.rowsAccepted], ['done', 3_000]);
  assert.ok(longest.ms() < 50, `a turn of ${longest.ms()} ms`);
});

test('a file goes through a bucket as through a folder, and leaves nothing there', WITHIN, async (t) => {
  const server = await S3Server.start();
  t.after(() => server.stop());
  const blobs = blobDrivers.s3.create(blobDrivers.s3.settings.parse(server.settings), testContext());
  const { workspaceId, imported, people } = await placeWith(t, blobs);
  const { importId, state, rowsAccepted } = await imported(SEVEN_HUNDRED);
  assert.deepEqual([state, rowsAccepted, (await people()).length], ['done', 693, 200]);
  const isThere = async () => {
    try {
      for await (const _ of blobs.read(`imports/${workspaceId}/${importId}`, new AbortController().signal)) return true;
      return true;
    } catch {
      return false;
    }
  };
  while (await isThere());
});
