import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { accepted, assertAddsUp, deferred, FAST, rejected, rigWith, uncertain } from '../../support/deliveries.ts';
import { person, ScriptedChannel } from '../../support/notification-rig.ts';
import { seeded } from '../../support/seed.ts';

describe('many deliveries at once', () => {
  it('all come to rest, none twice, and the counts add up, whatever the channel answers', { timeout: 60_000 }, async () => {
    const random = seeded(console.log);
    const answers = [accepted, accepted, accepted, deferred, rejected, uncertain, { ...deferred, untried: true as const, reason: 'line_full' }];
    const channel = new ScriptedChannel(async () => {
      await new Promise((resolve) => setTimeout(resolve, random.whole(5)));
      if (random.whole(40) === 0) throw new Error('a defect of the channel');
      return answers[random.whole(answers.length)]!;
    }, 5);
    const rig = await rigWith({ channels: new Map([['email', channel]]), settings: { ...FAST, tries: 3 } });
    for (let i = 0; i < 10; i++) rig.portal.people.set(`p${i}`, person(`p${i}`, i === 3 ? { consent: { email: 'denied' } } : {}));
    const ids = await Promise.all(Array.from({ length: 150 }, (_, i) => rig.ask({ personId: `p${i % 12}` })));
    for (const id of ids) {
      const delivery = await rig.rest(id);
      const results = delivery.attempts.map(({ result }) => result);
      const wire = channel.sent.filter(({ deliveryId }) => deliveryId === id);
      assert.ok(results.filter((result) => result === 'accepted').length <= 1);
      assert.ok(results.filter((result) => result === 'uncertain').length <= 2);
      assert.equal(delivery.mayBeRepeated, results.slice(0, -1).includes('uncertain'), results.join());
      if (delivery.state === 'sent') assert.equal(results.at(-1), 'accepted');
      if (delivery.state === 'failed') assert.ok(!results.includes('uncertain'), results.join());
      if (delivery.state === 'suppressed') assert.equal(wire.length, 0);
    }
    await assertAddsUp(rig);
    const counts = await rig.api.countDeliveries({ sourceId: 'a1' }, rig.call());
    assert.deepEqual([counts.audience, counts.pending, counts.suppressed], [150, 0, { opted_out: 13, person_gone: 24 }]);
    await rig.until(async () => rig.events.length === 150);
  });
});
