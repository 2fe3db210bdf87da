import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Templates } from '../../../../modules/portal/templates/templates.ts';
import { Call } from '../../../../src/kernel/call.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { NotificationStandIn } from '../../../support/notification-stand-in.ts';
import { openPortalStore, type PortalStore } from '../../../support/portal-store.ts';

const clock = new FakeClock();
const draft = { subject: 'Hi', format: 'html' as const, body: '<p>Hi</p>', text: null, from: null };
const notification = new NotificationStandIn();
let portal: PortalStore;
let templates: Templates;

before(async () => {
  portal = await openPortalStore(clock);
  templates = new Templates(portal.store, clock, notification);
});
after(() => portal.close());

const callIn = (workspace: string, idempotencyKey?: string) =>
  new Call({ workspace, actor: { kind: 'user', id: 'u' }, deadline: clock.now() + 10_000, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) });
const call = callIn('w');
const reason = (expected: string) => (thrown: unknown) => Fault.is(thrown) && thrown.reason === expected;

test('what is sent is the published version, not the draft, and it never changes', async () => {
  const { templateId } = await templates.create('Welcome', draft, call);
  await assert.rejects(templates.published(templateId, null, call), reason('template_not_published'));
  const first = await templates.publish(templateId, undefined, call);
  assert.deepEqual([first.version.version, first.template.publishedVersion], [1, 1]);
  await templates.update(templateId, { name: 'Changed', draft: { ...draft, subject: 'Later' } }, call);
  assert.equal((await templates.published(templateId, null, call)).compiled.subject, 'Hi');
  await templates.publish(templateId, undefined, call);
  assert.deepEqual(await templates.published(templateId, null, call), { templateId, name: 'Changed', version: 2, compiled: { subject: 'Later', html: '<p>Hi</p>', text: '', from: null } });
  assert.deepEqual(await templates.published(templateId, 1, call), { templateId, name: 'Welcome', version: 1, compiled: { subject: 'Hi', html: '<p>Hi</p>', text: '', from: null } });
  assert.deepEqual((await templates.versions(templateId, { limit: 10 }, call)).map((version) => version.version), [2, 1]);
  assert.deepEqual((await templates.version(templateId, 1, call)).content, draft);
  const events = (await portal.published('portal.template-published')).filter((event) => (event as { templateId: string }).templateId === templateId);
  assert.deepEqual(events, [{ templateId, version: 1 }, { templateId, version: 2 }]);
});

test('publishing the same draft twice makes one version and one event', async () => {
  const { templateId } = await templates.create('Same', draft, call);
  await templates.publish(templateId, undefined, call);
  const again = await templates.publish(templateId, undefined, call);
  assert.equal(again.version.version, 1);
  assert.equal((await portal.published('portal.template-published')).filter((event) => (event as { templateId: string }).templateId === templateId).length, 1);
});

test('a draft that does not compile is not published, and what was published stays', async () => {
  const { templateId } = await templates.create('Broken', draft, call);
  await templates.publish(templateId, undefined, call);
  await templates.update(templateId, { draft: { ...draft, body: '{% broken %}' } }, call);
  await assert.rejects(templates.publish(templateId, undefined, call), reason('template_invalid'));
  assert.equal((await templates.published(templateId, null, call)).version, 1);
});

test('a draft that is saved while it is being compiled is not published unseen', async () => {
  const { templateId } = await templates.create('Race', draft, call);
  notification.beforeCompiling = async () => {
    await templates.update(templateId, { draft: { ...draft, subject: 'Newer' } }, call);
  };
  await assert.rejects(templates.publish(templateId, undefined, call), reason('version_changed'));
  notification.beforeCompiling = async () => {};
  await assert.rejects(templates.publish(templateId, 1, call), reason('version_changed'));
  assert.equal((await templates.get(templateId, call)).publishedVersion, null);
});

test('the same request with a key makes one template', async () => {
  const [one, two] = await Promise.all([templates.create('Once', draft, callIn('w', 'k')), templates.create('Once', draft, callIn('w', 'k'))]);
  assert.equal(one.templateId, two.templateId);
  assert.notEqual((await templates.create('Once', draft, callIn('v', 'k'))).templateId, one.templateId);
});

test('another workspace finds nothing', async () => {
  const { templateId } = await templates.create('Mine', draft, call);
  await templates.publish(templateId, undefined, call);
  const foreign = callIn('v');
  const tries = [
    () => templates.get(templateId, foreign),
    () => templates.update(templateId, { name: 'x' }, foreign),
    () => templates.publish(templateId, undefined, foreign),
    () => templates.published(templateId, null, foreign),
    () => templates.published(templateId, 1, foreign),
    () => templates.version(templateId, 1, foreign),
    () => templates.versions(templateId, { limit: 1 }, foreign),
    () => templates.content(templateId, null, foreign),
    () => templates.content(templateId, 1, foreign),
  ];
  for (const attempt of tries) await assert.rejects(attempt(), (thrown) => Fault.is(thrown) && thrown.code === 'not_found', attempt.toString());
  assert.ok(!(await templates.list({ limit: 100, order: 'newest' }, foreign)).some((each) => each.templateId === templateId));
});
