import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { sendRequested } from '../../../modules/notification/contract.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { ChannelResult } from '../../../src/ports/channel.ts';
import { compiled, notificationRig, person, ScriptedChannel, type NotificationRig, type NotificationRigOptions } from '../../support/notification-rig.ts';

const QUEUE = sendRequested.name;
const refused: ChannelResult = { kind: 'rejected', response: '550 5.1.1 <ada@example.org> is unknown', reason: '5.1.1' };

describe('a deleted person', () => {
  const rigs: NotificationRig[] = [];
  after(() => Promise.all(rigs.map((rig) => rig.dispose())));

  async function rigWith(options: NotificationRigOptions = {}): Promise<NotificationRig> {
    const rig = await notificationRig(options);
    rigs.push(rig);
    for (const id of ['ada', 'ada-before', 'eve']) rig.portal.people.set(id, person(id));
    rig.portal.templates.set('t1', { version: 1, compiled: compiled() });
    return rig;
  }
  const remove = async (rig: NotificationRig, mergedFrom: string[] = []): Promise<void> => {
    const gone = person('ada', { email: null, userId: null, attributes: {}, version: 2, gone: true });
    rig.portal.people.set('ada', gone);
    await rig.publishPerson(gone, mergedFrom);
  };
  const all = async (rig: NotificationRig, personId: string) => (await rig.api.listDeliveries({ personId, limit: 200 }, rig.call())).items;
  const mailsTo = async (rig: NotificationRig) => new Set((await rig.api.listOutbox({ limit: 200 }, rig.call())).items.map(({ to }) => to));

  it('leaves no address and no mail behind, however much it was; others keep theirs', async () => {
    const rig = await rigWith();
    const asked: string[] = [];
    for (let i = 0; i < 130; i++) asked.push(await rig.ask());
    const before = await rig.ask({ personId: 'ada-before' });
    const others = await rig.ask({ personId: 'eve' });
    for (const id of [...asked, before, others]) await rig.rest(id);
    await rig.api.suppress({ address: 'ada@example.org', channel: 'email', reason: 'bounced' }, rig.call());
    assert.deepEqual(await mailsTo(rig), new Set(['ada@example.org', 'ada-before@example.org', 'eve@example.org']));

    await remove(rig, ['ada-before']);
    await rig.until(async () => (await mailsTo(rig)).size === 1 && [...(await all(rig, 'ada')), ...(await all(rig, 'ada-before'))].every(({ to }) => to === null));
    const erased = await all(rig, 'ada');
    assert.equal(erased.length, 130);
    assert.ok(erased.every(({ state, attempts }) => state === 'sent' && attempts.length === 1 && attempts[0]!.response === '' && attempts[0]!.reason === 'kept'));
    await assert.rejects(rig.api.readOutbox({ deliveryId: asked[0]! }, rig.call()), (fault) => Fault.is(fault) && fault.reason === 'delivery_not_found');

    const [kept] = await all(rig, 'eve');
    assert.deepEqual([kept!.to, kept!.attempts[0]!.response], ['eve@example.org', 'Kept in the outbox.']);
    assert.equal((await rig.api.readOutbox({ deliveryId: others }, rig.call())).to, 'eve@example.org');
    assert.deepEqual((await rig.api.listSuppressions({ limit: 10 }, rig.call())).items.map(({ address }) => address), ['ada@example.org']);
    assert.equal((await rig.api.countDeliveries({ sourceId: 'a1' }, rig.call())).sent, 132);
  });

  it('is erased where a server has quoted her address, and once more after what was on its way', async () => {
    const rig = await rigWith({ channels: new Map([['email', new ScriptedChannel(async () => refused)]]) });
    const id = await rig.ask();
    await rig.rest(id);
    await remove(rig);
    const erased = await rig.until(async () => (await all(rig, 'ada')).find(({ to }) => to === null));
    assert.deepEqual([erased.state, erased.reason, erased.attempts.map(({ response }) => response)], ['failed', '5.1.1', ['']]);
    await rig.until(async () => (await rig.composition.bus.inspect()).find(({ name }) => name === 'notification.erase-person')?.waiting === 1);
  });

  it('leaves no request in the error queue, however many lie there; others keep theirs', async () => {
    const rig = await rigWith();
    rig.portal.away = new Fault('invalid', 'The template is beyond repair.');
    const dead = async () => (await rig.composition.bus.inspect()).find(({ name }) => name === QUEUE)!.dead;
    for (let i = 0; i < 600; i++) await rig.ask({ personId: i % 2 === 0 ? 'eve' : i % 4 === 1 ? 'ada' : 'ada-before', event: { diagnosis: 'secret' } });
    await rig.until(async () => (await dead()) === 600);
    rig.portal.away = null;
    await remove(rig, ['ada-before']);
    await rig.until(async () => (await dead()) === 300);
    const { messages } = await rig.composition.bus.browse(QUEUE, { dead: true, limit: 1_000 });
    assert.deepEqual(new Set(messages.map(({ payload }) => JSON.parse(payload).personId)), new Set(['eve']));
  });

  it('gets nothing from a request that comes back from the error queue, and it leaves no trace of her', async () => {
    const rig = await rigWith();
    rig.portal.away = new Fault('invalid', 'The template is beyond repair.');
    const id = await rig.ask({ event: { diagnosis: 'secret' } });
    await rig.until(async () => (await rig.composition.bus.inspect()).find(({ name }) => name === QUEUE)!.dead === 1);
    rig.portal.away = null;
    rig.portal.people.set('ada', person('ada', { email: null, userId: null, attributes: {}, version: 2, gone: true }));
    assert.equal((await rig.composition.bus.requeue(QUEUE, { filter: {} })).count, 1);
    const delivery = await rig.rest(id);
    assert.deepEqual([delivery.state, delivery.reason, delivery.to], ['suppressed', 'person_gone', null]);
    assert.ok(!/secret|example\.org/.test(JSON.stringify(delivery)), JSON.stringify(delivery));
    assert.equal((await mailsTo(rig)).size, 0);
  });

  it('is not meant by a change, nor when she only went up in another', async () => {
    const rig = await rigWith();
    await rig.rest(await rig.ask());
    await rig.publishPerson(person('ada', { version: 2, email: 'new@example.org' }));
    rig.portal.merged.set('ada', 'eve');
    await remove(rig);
    rig.portal.people.set('bob', person('bob'));
    await rig.rest(await rig.ask({ personId: 'bob' }));
    rig.portal.people.set('bob', person('bob', { gone: true }));
    await rig.publishPerson(person('bob', { gone: true, version: 2 }));
    // One job at a time, in the order of asking: bob's is done, so ada's is too.
    await rig.until(async () => (await all(rig, 'bob'))[0]!.to === null);
    assert.deepEqual((await all(rig, 'ada')).map(({ to }) => to), ['ada@example.org']);
    assert.deepEqual(await mailsTo(rig), new Set(['ada@example.org']));
  });
});
