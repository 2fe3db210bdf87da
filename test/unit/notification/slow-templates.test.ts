import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { Renderer } from '../../../modules/notification/render/renderer.ts';
import { SlowVersions } from '../../../modules/notification/render/slow-versions.ts';
import { NotificationSettings } from '../../../modules/notification/settings.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { compiled, notificationRig, person, ScriptedChannel, type NotificationRig } from '../../support/notification-rig.ts';
import { slowHtml } from '../../support/slow-template.ts';

/** Nothing is to be killed here, however busy the machine. */
const PATIENT = { templateTimeoutMs: 20_000 };
const QUICK = { subject: '', html: '{{ x }}', text: '', fromName: '' };

const rigs: NotificationRig[] = [];
after(() => Promise.all(rigs.map((rig) => rig.dispose())));

/** Ada may be written to with the template `slow`, and with the ordinary `t1`. */
async function rigWith(slow: { readonly html: string; readonly text: string }): Promise<NotificationRig & { readonly channel: ScriptedChannel }> {
  const channel = new ScriptedChannel();
  const rig = await notificationRig({ channels: new Map([['email', channel]]), settings: PATIENT });
  rigs.push(rig);
  rig.portal.people.set('ada', person('ada'));
  rig.portal.templates.set('t1', { version: 1, compiled: compiled() });
  rig.portal.templates.set('slow', { version: 1, compiled: compiled(slow) });
  return { ...rig, channel };
}

describe('a template that takes long to render', () => {
  it("leaves other workspaces' mails their pace, and its own stand written down as waiting", { timeout: 60_000 }, async () => {
    // Half in each part: Liquid stops a part after a second, also on a machine that is busy.
    const half = slowHtml(200);
    const slowMs = 2 * half.ms;
    const rig = await rigWith({ html: half.html, text: half.html });
    const countOf = (workspace: string) => rig.api.countDeliveries({ sourceId: 'a1' }, rig.call(workspace));
    await Promise.all(Array.from({ length: 200 }, () => rig.ask({ templateId: 'slow' }, { workspace: 'w1' })));
    const began = performance.now();
    await Promise.all(Array.from({ length: 50 }, () => rig.ask({}, { workspace: 'w2' })));
    await rig.until(async () => (await countOf('w2')).sent === 50);
    const tookMs = performance.now() - began;
    assert.ok(tookMs < 15 * slowMs, `50 ordinary mails took ${tookMs.toFixed(0)} ms beside mails of ${slowMs.toFixed(0)} ms`);

    // Those that wait for the render thread itself have not been decided on.
    const counts = await rig.until(async () => {
      const now = await countOf('w1');
      return now.audience >= 196 && now;
    });
    assert.deepEqual([counts.failed, counts.suppressed, counts.uncertain], [{}, {}, 0]);
    const { items } = await rig.api.listDeliveries({ state: 'pending', limit: 200 }, rig.call('w1'));
    assert.ok(items.length > 100);
    for (const { reason, nextAttemptAt } of items) assert.ok(reason === 'renderer_busy' && nextAttemptAt !== null, `${reason}`);
    await rig.until(async () => (await countOf('w1')).sent > counts.sent + 2);
  });

  it('is sent to everybody in the end, once', { timeout: 60_000 }, async () => {
    const rig = await rigWith({ html: slowHtml(100).html, text: '' });
    const ids = await Promise.all(Array.from({ length: 15 }, () => rig.ask({ templateId: 'slow' })));
    const waited = rig.until(async () => (await rig.api.listDeliveries({ state: 'pending', limit: 1 }, rig.call())).items[0]?.reason === 'renderer_busy');
    for (const id of ids) assert.equal((await rig.rest(id)).state, 'sent');
    await waited;
    assert.deepEqual(rig.channel.sent.map(({ deliveryId }) => deliveryId).sort(), ids.sort());
  });

  it('holds up the others for one rendering, the one that shows it', { timeout: 60_000 }, async () => {
    const renderer = new Renderer(NotificationSettings.parse(PATIENT));
    try {
      await renderer.render('quick', QUICK, { x: 1 });
      const { html, ms } = slowHtml(300);
      const slow = Array.from({ length: 30 }, () => renderer.render('slow', { ...QUICK, html }, {}));
      const ended = Promise.allSettled(slow);
      const began = performance.now();
      await Promise.all(Array.from({ length: 100 }, () => renderer.render('quick', QUICK, { x: 1 })));
      const tookMs = performance.now() - began;
      assert.ok(tookMs < 8 * ms, `${tookMs.toFixed(0)} ms beside renderings of ${ms.toFixed(0)} ms`);
      const busy = (await ended).filter((end) => end.status === 'rejected' && Fault.is(end.reason) && end.reason.reason === 'renderer_busy');
      assert.ok(busy.length >= 20, `${busy.length}`);
      await assert.rejects(renderer.render('slow', { ...QUICK, html }, {}, 'quick'), { reason: 'template_slow' });
    } finally {
      await renderer.stop();
    }
  });

  it('is known by its mean: what is seldom slow or was slow once is not, what has become quick is no longer', () => {
    const versions = new SlowVersions();
    versions.note('once', 150);
    for (let i = 0; i < 100; i++) versions.note('medium', 20);
    versions.note('slow', 500);
    assert.deepEqual(['once', 'medium', 'slow', 'unseen'].map((key) => versions.isSlow(key)), [false, false, true, false]);
    for (let i = 0; i < 20; i++) versions.note('slow', 1);
    for (let i = 0; i < 20; i++) versions.note('medium', 40);
    assert.deepEqual(['medium', 'slow'].map((key) => versions.isSlow(key)), [true, false]);
  });

  it('has few places of its own, and tells the others to come one after the other', () => {
    const versions = new SlowVersions();
    const waitOf = (key: string) => {
      try {
        versions.enter(key);
        return 0;
      } catch (fault) {
        return Fault.is(fault) ? Number(fault.details['retryAfterMs']) : NaN;
      }
    };
    for (const key of ['a', 'b', 'c', 'd', 'e']) versions.note(key, 600);
    const leave = versions.enter('a');
    const waits = Array.from({ length: 2_000 }, () => waitOf('a'));
    assert.deepEqual(waits.slice(0, 3), [0, 0, 0]);
    assert.ok(waits[103]! - waits[3]! > 50_000 && waits[103]! - waits[3]! <= 60_000, `${waits[3]} ${waits[103]}`);
    assert.ok(waits.at(-1)! <= 15 * 60_000);
    for (const key of ['b', 'c', 'd']) assert.deepEqual(Array.from({ length: 4 }, () => waitOf(key)), [0, 0, 0, 0]);
    assert.ok(waitOf('e') > 0);
    leave();
    assert.equal(waitOf('e'), 0);
  });

  it('is forgotten for newer ones', () => {
    const versions = new SlowVersions();
    for (let i = 0; i <= 1_000; i++) versions.note(`v${i}`, 500);
    assert.deepEqual(['v0', 'v1', 'v1000'].map((key) => versions.isSlow(key)), [false, true, true]);
  });
});
