import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bearer, cookieOf, form, fromOurPage, PASSWORD, PUBLIC_URL, type PortalWeb, startPortalWeb } from '../../../support/portal-web.ts';

let web: PortalWeb;
let cookie: string;
let workspaceId: string;

before(async () => {
  web = await startPortalWeb();
  ({ cookie, workspaceId } = await web.setUp());
});
after(() => web.close());

const logIn = (headers: Record<string, string> = {}, body: object = { email: 'owner@example.com', password: PASSWORD }) => web.ask('/api/v1/session', { method: 'POST', headers, body });

test('the cookie is out of reach of scripts and other sites', async () => {
  const reply = await logIn();
  assert.equal(reply.status, 200);
  assert.match(reply.headers['set-cookie']![0]!, /^session=[\w-]{43}; Path=\/; Max-Age=604800; HttpOnly; SameSite=Lax$/);
  assert.ok(!reply.text.includes(cookieOf(reply).slice('session='.length)));
});

test('a cookie that was planted before the login is not the one after it', async () => {
  const planted = `session=${'A'.repeat(43)}`;
  const reply = await logIn({ cookie: planted });
  assert.notEqual(cookieOf(reply), planted);
  assert.equal((await web.ask('/api/v1/session', { headers: { cookie: planted } })).status, 401);
  const again = await logIn({ cookie });
  assert.notEqual(cookieOf(again), cookie);
});

test('logging out ends this session on the server and takes the cookie away', async () => {
  const own = cookieOf(await logIn());
  const reply = await web.ask('/api/v1/session', { method: 'DELETE', headers: fromOurPage(own) });
  assert.equal(reply.status, 200);
  assert.match(reply.headers['set-cookie']![0]!, /^session=; .*Max-Age=0/);
  assert.equal((await web.ask('/api/v1/session', { headers: { cookie: own } })).status, 401);
  assert.equal((await web.ask('/api/v1/session', { headers: { cookie } })).status, 200);
});

test('a wrong password and an unknown user read the same', async () => {
  const [wrong, unknown] = [await logIn({}, { email: 'owner@example.com', password: 'wrong' }), await logIn({}, { email: 'nobody@example.com', password: 'wrong' })];
  for (const reply of [wrong, unknown]) {
    assert.equal(reply.status, 401);
    assert.equal(reply.json.reason, 'wrong_login');
    assert.equal(reply.headers['set-cookie'], undefined);
  }
  assert.deepEqual({ ...wrong.json, callId: '' }, { ...unknown.json, callId: '' });
});

test('the owner finds refused logins in the audit log, by user and not by what was typed', async () => {
  await logIn({}, { email: 'owner@example.com', password: 'wrong' });
  const { userId } = (await web.ask('/api/v1/session', { headers: { cookie } })).json.user;
  for (;;) {
    const { items } = (await web.ask('/api/v1/audit?action=logIn', { headers: { cookie } })).json;
    const refused = items.find((entry: { outcome: string }) => entry.outcome === 'refused:wrong_login');
    if (refused === undefined) continue;
    assert.deepEqual([refused.targetId, refused.actor.kind, refused.address], [userId, 'anonymous', '127.0.0.1']);
    assert.ok(!JSON.stringify(items).includes('owner@example.com'));
    break;
  }
});

for (const [name, headers, status] of [
  ['another site, by Sec-Fetch-Site', { 'Sec-Fetch-Site': 'cross-site' }, 403],
  ['a neighbouring host', { 'Sec-Fetch-Site': 'same-site' }, 403],
  ['another site that says it is ours in Origin', { 'Sec-Fetch-Site': 'cross-site', Origin: PUBLIC_URL }, 403],
  ['another site, by Origin', { Origin: 'https://evil.example' }, 403],
  ['a null Origin', { Origin: 'null' }, 403],
  ['an Origin that begins like ours', { Origin: `${PUBLIC_URL}.evil.example` }, 403],
  ['an Origin as the Host says', { Origin: 'http://evil.example', Host: 'evil.example' }, 403],
  ['nowhere, with no token', {}, 403],
  ['nowhere, with a wrong token', { 'X-CSRF-Token': 'x'.repeat(43) }, 403],
  ['our page', { 'Sec-Fetch-Site': 'same-origin' }, 201],
  ['our page, in an older browser', { Origin: PUBLIC_URL }, 201],
] as const) {
  test(`with the session cookie, a change from ${name} answers ${status}`, async () => {
    const reply = await web.ask('/api/v1/workspaces', { method: 'POST', headers: { cookie, ...headers }, body: { name } });
    assert.equal(reply.status, status, reply.text);
    if (status === 403) assert.equal(reply.json.reason, 'cross_site');
  });
}

test('the token of the own session lets a program change things; that of another session does not', async () => {
  const { csrfToken } = (await web.ask('/api/v1/session', { headers: { cookie } })).json;
  const other = cookieOf(await logIn());
  const change = (as: string) => web.ask('/api/v1/workspaces', { method: 'POST', headers: { cookie: as, 'X-CSRF-Token': csrfToken }, body: { name: 'By token' } });
  assert.equal((await change(cookie)).status, 201);
  assert.equal((await change(other)).status, 403);
});

test('another site can not log a visitor in', async () => {
  assert.equal((await logIn({ 'Sec-Fetch-Site': 'cross-site' })).status, 403);
  assert.equal((await logIn({ Origin: 'https://evil.example' })).status, 403);
});

test('a new password ends the other sessions and goes on in a new one', async () => {
  const other = cookieOf(await logIn());
  const mine = cookieOf(await logIn());
  const change = (current: string, next: string) => web.ask('/api/v1/session/password', { method: 'PUT', headers: fromOurPage(mine), body: { current, next } });
  assert.equal((await change('wrong', 'another battery horse')).json.reason, 'wrong_password');
  assert.equal((await change(PASSWORD, 'too short')).json.errors[0].field, 'next');
  const reply = await change(PASSWORD, `${PASSWORD} 2`);
  assert.equal(reply.status, 200);
  for (const old of [other, mine, cookie]) assert.equal((await web.ask('/api/v1/session', { headers: { cookie: old } })).status, 401);
  const fresh = cookieOf(reply);
  const back = await web.ask('/api/v1/session/password', { method: 'PUT', headers: fromOurPage(fresh), body: { current: `${PASSWORD} 2`, next: PASSWORD } });
  cookie = cookieOf(back);
});

test('keys: refused when wrong even beside a good cookie, and held to their scopes', async () => {
  const read = await web.key(cookie, ['read']);
  const wrong = await web.ask('/api/v1/people', { headers: { cookie, ...bearer(`ml_${'x'.repeat(43)}`) } });
  assert.equal(wrong.status, 401);
  assert.match(String(wrong.headers['www-authenticate']), /^Bearer/);
  for (const authorization of ['Bearer', 'Basic bWw6', 'Bearer a b', 'Bearer eyJhbGciOiJub25lIn0.e30.', `bearer ${read}`]) {
    const reply = await web.ask('/api/v1/people', { headers: { authorization } });
    assert.equal(reply.status, authorization.startsWith('bearer') ? 200 : 401, authorization);
  }
  assert.equal((await web.ask('/api/v1/people', { headers: bearer(read) })).status, 200);
  const denied = await web.ask('/api/v1/people', { method: 'POST', headers: bearer(read), body: {} });
  assert.deepEqual([denied.status, denied.json.reason, denied.json.details], [403, 'scope_missing', { scope: 'write' }]);
  assert.equal((await web.ask('/api/v1/api-keys', { headers: bearer(read) })).status, 403);
  assert.equal((await web.ask('/api/v1/session', { headers: bearer(read) })).json.reason, 'session_required');
});

test('a revoked key is refused at the next request', async () => {
  const secret = await web.key(cookie, ['read']);
  assert.equal((await web.ask('/api/v1/people', { headers: bearer(secret) })).status, 200);
  const { items } = (await web.ask('/api/v1/api-keys?limit=1', { headers: { cookie } })).json;
  await web.ask(`/api/v1/api-keys/${items[0].keyId}`, { method: 'DELETE', headers: fromOurPage(cookie) });
  assert.equal((await web.ask('/api/v1/people', { headers: bearer(secret) })).status, 401);
});

test('a workspace of one\'s own is chosen by header; any other does not exist', async () => {
  const made = await web.ask('/api/v1/workspaces', { method: 'POST', headers: fromOurPage(cookie), body: { name: 'Second' } });
  const second = made.json.workspaceId as string;
  const session = async (workspace: string) => web.ask('/api/v1/session', { headers: { cookie, 'Multilith-Workspace': workspace } });
  assert.equal((await session(second)).json.workspaceId, second);
  assert.equal((await session(workspaceId)).json.workspaceId, workspaceId);
  assert.deepEqual([(await session('nowhere')).status, (await session('nowhere')).json.reason], [404, 'workspace_not_found']);
  const key = await web.key(cookie, ['read'], second);
  assert.equal((await web.ask('/api/v1/people', { headers: { ...bearer(key), 'Multilith-Workspace': workspaceId } })).status, 404);
  assert.equal((await web.ask(`/api/v1/workspaces/${workspaceId}`, { headers: bearer(key) })).status, 404);
});

test('many wrong passwords make the account wait, with Retry-After', async () => {
  // At once, since checking a password takes a busy machine as long as the wait.
  const replies = await Promise.all(Array.from({ length: 8 }, () => logIn({}, { email: 'throttled@example.com', password: 'wrong' })));
  const refused = replies.find(({ status }) => status === 429)!;
  assert.equal(refused.json.reason, 'too_many_logins');
  assert.ok(Number(refused.headers['retry-after']) >= 1);
});

test('the login form: needs its own token, and leads home and nowhere else', async () => {
  const shown = await web.ask('/login?next=//evil.example');
  const formCookie = cookieOf(shown);
  const token = /name="csrf" value="([\w-]+)"/.exec(shown.text)![1]!;
  const submit = (fields: Record<string, string>, headers: Record<string, string> = {}) => {
    const { body, headers: type } = form(fields);
    return web.ask('/login?next=//evil.example', { method: 'POST', body, headers: { ...type, ...headers } });
  };
  const fields = { email: 'owner@example.com', password: PASSWORD, next: 'https://evil.example' };
  assert.equal((await submit({ ...fields, csrf: token })).status, 403);
  assert.equal((await submit({ ...fields, csrf: 'x' }, { cookie: formCookie })).status, 403);
  assert.equal((await submit({ ...fields, csrf: token }, { cookie: formCookie, Origin: 'https://evil.example' })).status, 403);
  const done = await submit({ ...fields, csrf: token }, { cookie: formCookie });
  assert.deepEqual([done.status, done.headers.location], [303, '/']);
  assert.notEqual(cookieOf(done), formCookie);
  const wrong = await submit({ ...fields, password: '"><script>', email: '"><script>alert(1)</script>', csrf: token }, { cookie: formCookie });
  assert.equal(wrong.status, 401);
  assert.ok(!wrong.text.includes('<script'));
});
