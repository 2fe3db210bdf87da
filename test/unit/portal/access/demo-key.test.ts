import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { DemoKey } from '../../../../modules/portal/access/demo-key.ts';
import { systemCall } from '../../../../src/kernel/call.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { bearer, type PortalWeb, startPortalWeb } from '../../../support/portal-web.ts';

let web: PortalWeb;
before(async () => {
  web = await startPortalWeb();
});
after(() => web.close());

const ask = (request: null | { workspace: string }) => web.composition.part('portal', DemoKey).run(request, systemCall('operator', null, Date.now() + 5_000)) as Promise<{ workspaceId: string; secret: string }>;

test('the demo gets a workspace and a key, before there is an owner and after', async () => {
  const first = await ask(null);
  const session = await web.ask('/api/v1/people', { headers: bearer(first.secret) });
  assert.equal(session.status, 200);
  assert.equal((await web.ask('/api/v1/api-keys', { headers: bearer(first.secret) })).status, 403);

  const { cookie, workspaceId } = await web.setUp();
  assert.notEqual(workspaceId, first.workspaceId);
  assert.equal((await web.ask('/api/v1/people', { headers: { cookie, 'Multilith-Workspace': first.workspaceId } })).status, 200, 'the first owner finds the demo');

  const second = await ask(null);
  assert.equal(second.workspaceId, first.workspaceId);
  assert.equal((await web.ask('/api/v1/people', { headers: bearer(first.secret) })).status, 401, 'the key before stops working');
  assert.equal((await web.ask('/api/v1/people', { headers: bearer(second.secret) })).status, 200);

  const other = await ask({ workspace: 'Another' });
  assert.notEqual(other.workspaceId, first.workspaceId);
  assert.equal((await web.ask('/api/v1/people', { headers: { cookie, 'Multilith-Workspace': other.workspaceId } })).status, 200, 'every owner is one there too');
});

test('what is asked wrongly is refused', async () => {
  await assert.rejects(ask({ workspace: ' ' }), (thrown) => Fault.is(thrown) && thrown.code === 'invalid');
});
