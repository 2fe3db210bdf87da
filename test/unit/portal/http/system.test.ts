import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { SystemStatus } from '../../../../src/kernel/system.ts';
import { bearer, type PortalWeb, startPortalWeb } from '../../../support/portal-web.ts';

let web: PortalWeb;
let cookie: string;
let key: string;

before(async () => {
  web = await startPortalWeb();
  ({ cookie } = await web.setUp());
  key = await web.key(cookie);
});
after(() => web.close());

test('people who are logged in see the hosts; the key of a workspace does not, whatever it may do there', async () => {
  const reply = await web.ask('/api/v1/system/hosts', { headers: { cookie } });
  assert.equal(reply.status, 200);
  assert.ok(SystemStatus.safeParse(reply.json).success);
  const refused = await web.ask('/api/v1/system/hosts', { headers: bearer(key) });
  assert.deepEqual([refused.status, refused.json.reason], [403, 'session_required']);
  assert.equal((await web.ask('/api/v1/system/hosts')).status, 401);
});

test('a key that may read is told what the installation is, and nothing of its hosts', async () => {
  const reply = await web.ask('/api/v1/system', { headers: bearer(key) });
  assert.equal(reply.status, 200);
  assert.deepEqual(Object.keys(reply.json).sort(), ['contracts', 'name', 'publicUrl', 'time']);
});
