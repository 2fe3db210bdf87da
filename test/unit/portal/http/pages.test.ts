import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Setup } from '../../../../modules/portal/access/setup.ts';
import { bearer, cookieOf, form, fromOurPage, PASSWORD, PUBLIC_URL, type PortalWeb, startPortalWeb } from '../../../support/portal-web.ts';

let web: PortalWeb;
let cookie: string;
let workspaceId: string;

before(async () => {
  web = await startPortalWeb();
});
after(() => web.close());

const submit = (path: string, fields: Record<string, string>, headers: Record<string, string> = {}) => {
  const { body, headers: type } = form(fields);
  return web.ask(path, { method: 'POST', body, headers: { ...type, ...headers } });
};
const csrfOf = (text: string) => /name="csrf" value="([\w-]+)"/.exec(text)![1]!;

test('the set-up page: shown for the link only, says what is wrong, makes owner and workspace once', async () => {
  const path = (await web.composition.part('portal', Setup).pendingLink())!.slice(PUBLIC_URL.length);
  assert.equal((await web.ask('/setup/' + 'x'.repeat(43))).status, 404);
  assert.equal((await web.ask(path)).status, 200);
  const fields = { email: 'owner@example.com', password: PASSWORD, workspace: 'First <b>' };
  assert.equal((await submit('/setup/' + 'x'.repeat(43), fields)).status, 404);
  for (const [wrong, word] of [[{ password: 'too short' }, 'at least 12'], [{ email: 'none' }, 'not valid'], [{ workspace: ' ' }, 'needs a name']] as const) {
    const reply = await submit(path, { ...fields, ...wrong });
    assert.equal(reply.status, 400);
    assert.ok(reply.text.includes(word), word);
    assert.ok(!reply.text.includes('<b>') && !reply.text.includes(PASSWORD));
  }
  assert.equal((await submit(path, fields, { 'Sec-Fetch-Site': 'cross-site' })).status, 403);
  const done = await submit(path, fields);
  assert.deepEqual([done.status, done.headers.location], [303, '/']);
  cookie = cookieOf(done);
  for (const reply of [await submit(path, fields), await web.ask(path)]) assert.equal(reply.status, 404);
  const session = await web.ask('/api/v1/session', { headers: { cookie } });
  workspaceId = session.json.workspaceId;
  assert.deepEqual([session.json.user.email, session.json.scopes], ['owner@example.com', ['ingest', 'read', 'write', 'admin']]);
  const home = await web.ask('/', { headers: { cookie } });
  assert.ok(home.text.includes('First &#60;b&#62;') && !home.text.includes('<b>'));
  const { items } = (await web.ask('/api/v1/audit', { headers: { cookie } })).json;
  assert.equal(items[0].action, 'setUp');
});

test('who is not logged in is led to the login, from every staff page', async () => {
  assert.deepEqual((await web.ask('/')).headers.location, '/login');
  for (const path of ['/people?workspace=w&segment=s', '/outbox?workspace=w&after=a%2Bb', '/outbox/x', '/outbox/x/html', '/outbox/x/raw', '/imports', '/exports', '/keys']) {
    const reply = await web.ask(path);
    assert.deepEqual([reply.status, reply.headers.location], [303, `/login?next=${encodeURIComponent(path)}`], path);
  }
  for (const path of ['/imports', '/imports/x/delete', '/exports', '/exports/x/delete', '/keys', '/keys/x/revoke', '/logout']) assert.equal((await submit(path, { csrf: 'x' })).headers.location, '/login');
});

async function logIn(next: string): Promise<string | undefined> {
  const shown = await web.ask(`/login?next=${encodeURIComponent(next)}`);
  const nextField = /name="next" value="([^"]*)"/.exec(shown.text)![1]!.replace(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)));
  const done = await submit('/login', { email: 'owner@example.com', password: PASSWORD, csrf: csrfOf(shown.text), next: nextField }, { cookie: cookieOf(shown) });
  assert.equal(done.status, 303);
  return done.headers.location;
}

test('the login leads to the page that was asked for', async () => {
  const path = `/outbox?workspace=${workspaceId}&after=a%2Bb`;
  assert.equal(await logIn(path), path);
  assert.equal((await web.ask(`/login?next=${encodeURIComponent(path)}`, { headers: { cookie } })).headers.location, path);
  const shown = await web.ask(`/login?next=${encodeURIComponent(path)}`);
  const refused = await submit('/login', { email: 'owner@example.com', password: 'wrong', csrf: csrfOf(shown.text), next: path }, { cookie: cookieOf(shown) });
  assert.equal(refused.status, 401);
  assert.ok(refused.text.includes('/outbox?'), 'a wrong password forgets where to go');
});

test('the login leads to no other place than a page of ours', async () => {
  const elsewhere = ['//evil.example', 'https://evil.example', '/\\evil.example', '\\\\evil.example', '/\t/evil.example', '/\n/evil.example', '\t//evil.example', '/x\r\nLocation: https://evil.example', 'javascript:alert(1)', 'evil.example', '', '/é', `/${'x'.repeat(3_000)}`];
  for (const next of elsewhere) {
    assert.equal((await web.ask(`/login?next=${encodeURIComponent(next)}`, { headers: { cookie } })).headers.location, '/', JSON.stringify(next));
    const shown = await web.ask('/login');
    const done = await submit('/login', { email: 'owner@example.com', password: PASSWORD, csrf: csrfOf(shown.text), next }, { cookie: cookieOf(shown) });
    assert.deepEqual([done.status, done.headers.location], [303, '/'], JSON.stringify(next));
    assert.ok(!(await web.ask(`/login?next=${encodeURIComponent(next)}`)).text.includes('evil'), JSON.stringify(next));
  }
});

test('pages say which workspace they show, and keep it in their links', async () => {
  const named = (await web.ask('/api/v1/workspaces', { method: 'POST', headers: fromOurPage(cookie), body: { name: 'Named <i>' } })).json.workspaceId as string;
  for (const path of ['/', '/outbox', '/keys', '/docs']) {
    const { text } = await web.ask(`${path}?workspace=${named}`, { headers: { cookie } });
    assert.match(text, /<title>[^<]* · Named &#60;i&#62; · Multilith<\/title>/, path);
    for (const link of ['/', '/outbox', '/keys', '/docs']) assert.ok(text.includes(`<a href="${link}?workspace=${named}">`), `${path} to ${link}`);
  }
});

test('the API page and those that say what went wrong keep the way back for who is logged in, and for nobody else', async () => {
  for (const [path, status] of [['/docs', 200], ['/nothing', 404], ['/outbox/unknown', 404], ['/docs?workspace=unknown', 200], ['/outbox?workspace=unknown', 404]] as const) {
    const reply = await web.ask(path, { headers: { cookie } });
    assert.equal(reply.status, status, path);
    assert.ok(reply.text.includes('action="/logout"') && reply.text.includes(`href="/outbox?workspace=${workspaceId}"`), path);
  }
  for (const path of ['/docs', '/nothing']) assert.ok(!(await web.ask(path)).text.includes('/logout'), path);
});

test('a key made on the page is shown once and works; the form needs its token', async () => {
  const shown = await web.ask('/keys', { headers: { cookie } });
  assert.equal((await submit('/keys', { name: 'sdk', 'scope-ingest': 'on', csrf: 'x' }, { cookie })).status, 403);
  assert.equal((await submit('/keys', { name: 'sdk', 'scope-ingest': 'on', csrf: csrfOf(shown.text) }, { cookie, Origin: 'https://evil.example' })).status, 403);
  const made = await submit(`/keys?workspace=${workspaceId}`, { name: 'sdk <i>', 'scope-read': 'on', csrf: csrfOf(shown.text) }, { cookie });
  const secret = /<pre>(ml_[\w-]{43})<\/pre>/.exec(made.text)![1]!;
  assert.equal((await web.ask('/api/v1/people', { headers: bearer(secret) })).status, 200);
  const again = await web.ask('/keys', { headers: { cookie } });
  assert.ok(!again.text.includes(secret) && !again.text.includes('<i>'));
  const revoke = /action="(\/keys\/[\w-]+\/revoke[^"]*)"/.exec(again.text)![1]!;
  assert.equal((await submit(revoke, { csrf: csrfOf(again.text) }, { cookie })).status, 303);
  assert.equal((await web.ask('/api/v1/people', { headers: bearer(secret) })).status, 401);
});

test('people are shown page by page, all or those of a segment, and nothing that they are called is taken for HTML', async () => {
  const headers = bearer(await web.key(cookie));
  for (let i = 0; i < 52; i++) await web.ask('/api/v1/people', { method: 'POST', headers, body: { userId: `<b>${i}`, attributes: { late: i > 0 } } });
  const { segmentId } = (await web.ask('/api/v1/segments', { method: 'POST', headers, body: { name: 'Late & <i>', condition: { field: 'person.late', op: 'eq', value: true } } })).json;
  const at = `/people?workspace=${workspaceId}&segment=`;
  const show = async (path: string) => (await web.ask(path, { headers: { cookie } })).text;
  while ((await show(at + segmentId)).includes('still being found')) await new Promise((resolve) => setTimeout(resolve, 5));
  const shown = (text: string) => [...text.matchAll(/&#60;b&#62;(\d+)/g)].map(([, n]) => Number(n));
  const older = (text: string) => /href="(\/people[^"]+)"/.exec(text.slice(text.indexOf('<main>')))![1]!.replaceAll('&#38;', '&');
  const [all, first] = [await show(at), await show(at + segmentId)];
  assert.deepEqual([shown(all)[0], shown(all).length, shown(first).length], [51, 50, 50]);
  assert.deepEqual([shown(await show(older(all))), shown(await show(older(first)))], [[1, 0], [1]]);
  assert.ok(first.includes('selected>Late &#38; &#60;i&#62; (51)') && !/<[bi]>/.test(first));
  const exporting = (await show(`/exports?workspace=${workspaceId}`)).replaceAll('&#38;', '&');
  await submit(`/exports?workspace=${workspaceId}`, { csrf: csrfOf(exporting), what: 'people', format: 'csv', segment: segmentId }, fromOurPage(cookie));
  assert.ok((await show(`/exports?workspace=${workspaceId}`)).includes('<td>Late &#38; &#60;i&#62;, csv</td>'));
  assert.equal((await web.ask(`${at}unknown`, { headers: { cookie } })).status, 404);
});

test('an export is asked for on the page with its token, written down in the audit log, and its file leads from there', async () => {
  const at = `/exports?workspace=${workspaceId}`;
  const shown = await web.ask(at, { headers: { cookie } });
  const fields = { csrf: csrfOf(shown.text), what: 'people', format: 'csv' };
  assert.equal((await submit(at, { ...fields, csrf: 'x'.repeat(43) }, { cookie })).status, 403);
  assert.equal((await submit(at, { ...fields, what: 'users' }, { cookie })).status, 400);
  const asked = await submit(at, fields, { cookie });
  assert.deepEqual([asked.status, asked.headers.location], [303, at]);
  let link: string | undefined;
  while (link === undefined) link = /href="(\/api\/v1\/exports\/[^"]+)"/.exec((await web.ask(at, { headers: { cookie } })).text)?.[1];
  assert.match((await web.ask(link.replaceAll('&amp;', '&'), { headers: { cookie } })).text, /^personId,/);
  const { items } = (await web.ask('/api/v1/audit', { headers: { cookie } })).json;
  assert.equal(items.find(({ action }: { action: string }) => action === 'createExport')?.outcome, 'done');
  const drop = /action="(\/exports\/[^"]+\/delete[^"]*)"/.exec((await web.ask(at, { headers: { cookie } })).text)![1]!;
  assert.equal((await submit(drop, { csrf: 'x' }, { cookie })).status, 403);
  assert.equal((await submit(drop, { csrf: fields.csrf }, { cookie })).headers.location, at);
  assert.equal((await submit(drop, { csrf: fields.csrf }, { cookie })).status, 404);
});

test('a file of people is sent on the page with its token, shown as it goes, and called off there', async () => {
  const at = `/imports?workspace=${workspaceId}`;
  const empty = (await web.ask(at, { headers: { cookie } })).text;
  assert.ok(empty.includes('No files yet') && !empty.includes('<table>'));
  const csrf = csrfOf(empty);
  const send = async (fields: Readonly<Record<string, string>>, file: string, headers: Readonly<Record<string, string>> = {}) => {
    const sent = new FormData();
    for (const [name, value] of Object.entries(fields)) sent.set(name, value);
    sent.set('file', new File([file], 'my "people".csv'));
    const response = new Response(sent);
    return web.ask(at, { method: 'POST', headers: { ...fromOurPage(cookie), 'Content-Type': response.headers.get('content-type')!, ...headers }, body: new Uint8Array(await response.arrayBuffer()) });
  };
  const file = 'userId,email\r\npage-1,page@example.com\r\npage-2,nowhere\r\n';
  assert.equal((await send({ csrf: 'x'.repeat(43), format: 'csv' }, file)).status, 403);
  assert.equal((await send({ csrf, format: 'csv' }, file, { Origin: 'https://evil.example', 'Sec-Fetch-Site': 'cross-site' })).status, 403);
  assert.equal((await send({ csrf, format: 'xlsx' }, file)).status, 400);
  assert.equal((await send({ csrf, format: 'csv' }, '')).status, 400);
  assert.equal((await send({ csrf, format: 'csv' }, file, { 'Content-Type': 'text/csv' })).status, 415);
  assert.deepEqual([(await send({ csrf, format: 'csv' }, file)).headers.location], [at]);
  let shown: string;
  do shown = (await web.ask(at, { headers: { cookie } })).text;
  while (!shown.includes('done</td>'));
  assert.match(shown, /1 taken/);
  await send({ csrf, format: 'csv' }, 'name\r\nAda\r\n');
  let failed: string;
  do failed = (await web.ask(at, { headers: { cookie } })).text;
  while (!failed.includes('class="bad"'));
  assert.match(failed, /<td class="bad">failed: no column is called userId, personId or email</);
  await submit(/action="(\/imports\/[^"]+\/delete[^"]*)"/.exec(failed)![1]!, { csrf }, { cookie });
  const refused = /href="(\/api\/v1\/imports\/[^"]+\/refused[^"]*)">1 refused/.exec(shown)![1]!;
  assert.equal((await web.ask(refused, { headers: { cookie } })).text, 'line,column,reason\r\n3,email,email_invalid\r\n');
  const drop = /action="(\/imports\/[^"]+\/delete[^"]*)"/.exec(shown)![1]!;
  assert.equal((await submit(drop, { csrf: 'x' }, { cookie })).status, 403);
  assert.equal((await submit(drop, { csrf }, { cookie })).headers.location, at);
  assert.ok(!(await web.ask(at, { headers: { cookie } })).text.includes('taken'));
  const { items } = (await web.ask('/api/v1/audit', { headers: { cookie } })).json;
  const outcomes = items.filter(({ action }: { action: string }) => /Import$/.test(action)).map(({ action, outcome }: { action: string; outcome: string }) => `${action} ${outcome}`);
  assert.deepEqual(outcomes, ['deleteImport done', 'deleteImport done', 'createImport done', 'createImport done', 'createImport refused:file_empty']);
});

test('a mail is shown in a sandbox that runs and loads nothing', async () => {
  const evil = '<script>alert(1)</script><img src="https://evil.example/pixel"><a href="javascript:alert(1)">x</a>';
  const template = await web.ask('/api/v1/templates', { method: 'POST', headers: fromOurPage(cookie), body: { name: 'T', draft: { subject: '<script>s</script>', format: 'html', body: evil, text: '</pre><script>t</script>', from: null } } });
  const person = await web.ask('/api/v1/people', { method: 'POST', headers: fromOurPage(cookie), body: { email: 'ada@example.com' } });
  const sent = await web.ask(`/api/v1/templates/${template.json.templateId}/test-sends`, { method: 'POST', headers: fromOurPage(cookie), body: { personId: person.json.personId, to: 'staff@example.com' } });
  assert.equal(sent.status, 202, sent.text);
  assert.equal(sent.headers.location, undefined, 'there is nothing to read yet');
  const list = await web.ask('/outbox', { headers: { cookie } });
  const path = `/outbox/${sent.json.deliveryId}`;
  assert.ok(list.text.includes(path) && !list.text.includes('<script'));
  const reader = await web.ask(path, { headers: { cookie } });
  assert.match(reader.text, /<iframe sandbox=""/);
  assert.ok(!reader.text.includes('<script') && !reader.text.includes('javascript:'));
  for (const part of ['html', 'raw']) {
    const reply = await web.ask(`${path}/${part}`, { headers: { cookie } });
    const policy = String(reply.headers['content-security-policy']);
    assert.match(policy, /^sandbox; default-src 'none'/, part);
    assert.ok(!/script-src|https:|\*|allow-/.test(policy), policy);
  }
  assert.match(String((await web.ask(`${path}/raw`, { headers: { cookie } })).headers['content-type']), /^text\/plain/);
  assert.equal((await web.ask('/outbox/unknown', { headers: { cookie } })).status, 404);
  const elsewhere = await web.ask('/api/v1/workspaces', { method: 'POST', headers: fromOurPage(cookie), body: { name: 'Second' } });
  assert.equal((await web.ask(`${path}?workspace=${elsewhere.json.workspaceId}`, { headers: { cookie } })).status, 404);
});

test('the unsubscribe page changes nothing when it is opened, and everything at one click', async () => {
  const path = `/u/${web.notification.token}`;
  for (const method of ['GET', 'HEAD']) assert.equal((await web.ask(path, { method })).status, 200);
  assert.equal(web.notification.unsubscribed.size, 0);
  const oneClick = await web.ask(path, { method: 'POST', headers: { 'Content-Type': 'application/x-www-form-urlencoded', Origin: 'https://mail.example', 'Sec-Fetch-Site': 'cross-site' }, body: 'List-Unsubscribe=One-Click' });
  assert.equal(oneClick.status, 200);
  assert.equal(oneClick.headers['set-cookie'], undefined);
  assert.ok(web.notification.unsubscribed.has(web.notification.token));
  const multipart = await web.ask(path, { method: 'POST', headers: { 'Content-Type': 'multipart/form-data; boundary=x' }, body: '--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n' });
  assert.equal(multipart.status, 200);
  for (const method of ['GET', 'POST']) assert.equal((await web.ask('/u/forged', { method })).status, 404);
});

test('what is not a page says so, in the asked-for kind', async () => {
  const reply = await web.ask('/nothing');
  assert.deepEqual([reply.status, reply.headers['content-type']], [404, 'text/html; charset=utf-8']);
  assert.equal((await web.ask('//evil.example/')).status, 404);
  assert.equal((await web.ask('/\\evil.example')).status, 404);
});

test('the browser keeps style and icon', async () => {
  for (const [path, type] of [['/assets/style.css', 'text/css'], ['/assets/icon.svg', 'image/svg+xml']] as const) {
    const { status, headers } = await web.ask(path);
    assert.equal(status, 200);
    assert.equal(headers['content-type'], `${type}; charset=utf-8`);
    assert.match(String(headers['cache-control']), /max-age/);
  }
});

test('logging out on the page ends the session', async () => {
  const home = await web.ask('/', { headers: { cookie } });
  assert.equal((await submit('/logout', { csrf: 'x' }, { cookie })).status, 403);
  assert.equal((await submit('/logout', { csrf: csrfOf(home.text) }, { cookie })).headers.location, '/login');
  assert.equal((await web.ask('/', { headers: { cookie } })).headers.location, '/login');
});
