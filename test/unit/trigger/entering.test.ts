import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { idBeside } from '../../../src/kernel/ids.ts';
import type { Condition } from '../../../modules/trigger/contract.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { TriggerRig, WORKSPACE, person } from '../../support/trigger-rig.ts';

const DAY = 86_400_000;
const isGold: Condition = { field: 'person.plan', op: 'eq', value: 'gold' };

describe('an event enters automations', () => {
  let rig: TriggerRig;
  let clock: FakeClock;
  beforeEach(async () => {
    rig = await new TriggerRig().start();
    clock = rig.clock as FakeClock;
  });
  afterEach(() => rig.dispose());

  test('asks for the send at once when there is no wait', async () => {
    const { automationId } = await rig.save({});
    await rig.event({ eventId: 'e-1', person: person('ada'), properties: { amount: 3 } });
    const runId = idBeside('e-1', 'run', WORKSPACE, automationId, 'e-1');
    assert.deepEqual(await rig.sends(), [
      {
        id: idBeside(runId, 'delivery', runId),
        workspace: WORKSPACE,
        request: { personId: 'ada', templateId: 't1', channel: 'email', source: { kind: 'automation', id: automationId, version: 1, runId, eventId: 'e-1' }, event: { amount: 3 } },
      },
    ]);
    assert.deepEqual(await rig.counts(automationId), { entered: 1, waiting: 0, sent: 1, left: {}, turnedAway: 0 });
  });

  test('passes by what has another name, or does not hold', async () => {
    const other = await rig.save({ event: 'left' });
    const gold = await rig.save({ when: isGold });
    await rig.event({ person: person('ada') });
    assert.deepEqual(await rig.sends(), []);
    for (const { automationId } of [other, gold]) assert.deepEqual(await rig.counts(automationId), { entered: 0, waiting: 0, sent: 0, left: {}, turnedAway: 0 });
    await rig.event({ person: person('bea', { attributes: { plan: 'gold' } }) });
    assert.equal((await rig.counts(gold.automationId)).sent, 1);
  });

  test('reads conditions from the event as it happened, and `still` from the newest person', async () => {
    const { automationId } = await rig.save({ when: isGold, still: isGold });
    await rig.changed(person('ada', { version: 7, attributes: { plan: 'none' } }));
    await rig.event({ person: person('ada', { version: 6, attributes: { plan: 'gold' } }) });
    assert.deepEqual(await rig.counts(automationId), { entered: 1, waiting: 0, sent: 0, left: { no_longer_qualifies: 1 }, turnedAway: 0 });
  });

  test('an event that comes again under another message enters once', async () => {
    const { automationId } = await rig.save({});
    for (const id of ['m1', 'm2', 'm3']) await rig.event({ eventId: 'same', person: person('ada'), time: clock.now() - 5 }, { id });
    assert.deepEqual(await rig.counts(automationId), { entered: 1, waiting: 0, sent: 1, left: {}, turnedAway: 0 });
    assert.equal((await rig.sends()).length, 1);
  });

  test('works for the event\'s workspace only', async () => {
    const { automationId } = await rig.save({});
    await rig.event({ person: person('ada') }, { workspace: 'other' });
    assert.equal((await rig.counts(automationId)).entered, 0);
    await assert.rejects(rig.counts(automationId, 'other'), { code: 'not_found', reason: 'automation_not_found' });
    assert.deepEqual(await rig.agendaRows('other'), []);
  });

  test('a message without a workspace is refused for good', async () => {
    await assert.rejects(rig.event({ person: person('ada') }, { workspace: null as unknown as string }), { code: 'invalid' });
  });

  describe('re-entry', () => {
    test('once: never again, whatever the order of the events', async () => {
      const { automationId } = await rig.save({ reentry: { kind: 'once' } });
      await rig.event({ person: person('ada'), time: clock.now() - 10 });
      await rig.event({ person: person('ada'), time: clock.now() - 10 * DAY });
      await rig.event({ person: person('ada') });
      await rig.event({ person: person('bea') });
      assert.deepEqual(await rig.counts(automationId), { entered: 2, waiting: 0, sent: 2, left: {}, turnedAway: 2 });
    });

    test('once per period: a period apart enters, one millisecond less does not', async () => {
      const { automationId } = await rig.save({ reentry: { kind: 'once_per', periodMs: DAY } });
      const at = clock.now() - 10 * DAY;
      const times = [at, at + DAY - 1, at + DAY, at - DAY + 1, at - DAY];
      for (const time of times) await rig.event({ person: person('ada'), time });
      const { entered, turnedAway } = await rig.counts(automationId);
      assert.deepEqual({ entered, turnedAway }, { entered: 3, turnedAway: 2 });
    });

    test('every time: two events of one millisecond both enter', async () => {
      const { automationId } = await rig.save({});
      await rig.event({ person: person('ada') });
      await rig.event({ person: person('ada') });
      assert.equal((await rig.counts(automationId)).sent, 2);
    });

    test('counts entries of earlier versions', async () => {
      const { automationId } = await rig.save({});
      await rig.event({ person: person('ada') });
      await rig.save({ reentry: { kind: 'once' } }, automationId);
      await rig.event({ person: person('ada') });
      assert.deepEqual(await rig.counts(automationId), { entered: 1, waiting: 0, sent: 1, left: {}, turnedAway: 1 });
    });
  });

  describe('persons', () => {
    test('one who is gone enters and leaves at once', async () => {
      const { automationId } = await rig.save({ waitMs: DAY });
      await rig.changed(person('ada', { version: 3, gone: true }));
      await rig.event({ person: person('ada', { version: 2 }) });
      assert.deepEqual(await rig.counts(automationId), { entered: 1, waiting: 0, sent: 0, left: { person_gone: 1 }, turnedAway: 0 });
      assert.deepEqual(await rig.sends(), []);
    });

    test('are taken note of by events that fit no automation, too', async () => {
      const { automationId } = await rig.save({ waitMs: DAY, still: isGold });
      await rig.event({ person: person('ada') });
      await rig.event({ person: person('ada', { version: 2, attributes: { plan: 'gold' } }), name: 'something else' });
      await rig.advance(DAY);
      assert.equal((await rig.counts(automationId)).sent, 1);
    });

    test('a deletion ends what waits and keeps nothing personal', async () => {
      const { automationId } = await rig.save({ waitMs: DAY });
      await rig.event({ person: person('ada', { attributes: { secret: 'x' } }) });
      await rig.changed(person('ada', { version: 2, gone: true, attributes: { secret: 'x' } }));
      assert.deepEqual(await rig.counts(automationId), { entered: 1, waiting: 0, sent: 0, left: { person_gone: 1 }, turnedAway: 0 });
      assert.deepEqual(await rig.storage.db.selectFrom('people').select(['gone', 'facts']).execute(), [{ gone: 1, facts: '{}' }]);
      await rig.advance(2 * DAY);
      assert.deepEqual(await rig.sends(), []);
    });

    test('a deletion after the automation was turned off is not counted again', async () => {
      const { automationId } = await rig.save({ waitMs: DAY });
      await rig.event({ person: person('ada') });
      await rig.agenda.stop(1_000);
      await rig.automations.setAutomationEnabled({ automationId, enabled: false }, rig.call());
      await rig.automations.setAutomationEnabled({ automationId, enabled: true }, rig.call());
      await rig.changed(person('ada', { version: 2, gone: true }));
      assert.deepEqual(await rig.counts(automationId), { entered: 1, waiting: 0, sent: 0, left: { turned_off: 1 }, turnedAway: 0 });
    });

    test('an older copy never replaces a newer one, nor does an old deletion end anything', async () => {
      const { automationId } = await rig.save({ waitMs: DAY, still: isGold });
      await rig.changed(person('ada', { version: 9, attributes: { plan: 'gold' } }));
      await rig.event({ person: person('ada', { version: 4 }) });
      await rig.changed(person('ada', { version: 5, gone: true }));
      await rig.advance(DAY);
      assert.deepEqual(await rig.counts(automationId), { entered: 1, waiting: 0, sent: 1, left: {}, turnedAway: 0 });
    });

    test('what waits goes on under the id that a merge names, and so does what comes late', async () => {
      const { automationId } = await rig.save({ waitMs: DAY, still: isGold });
      await rig.event({ person: person('anonymous') });
      await rig.changed(person('ada', { version: 2, attributes: { plan: 'gold' } }), ['anonymous']);
      await rig.event({ person: person('anonymous', { version: 5 }) });
      assert.deepEqual((await rig.agendaRows()).map((row) => row.personId), ['ada', 'ada']);
      await rig.advance(DAY);
      assert.deepEqual((await rig.sends()).map(({ request }) => request.personId), ['ada', 'ada']);
      assert.deepEqual(await rig.counts(automationId), { entered: 2, waiting: 0, sent: 2, left: {}, turnedAway: 0 });
    });

    test('a merge of merges, repeated and out of order, ends at the last person', async () => {
      await rig.save({ waitMs: DAY });
      await rig.event({ person: person('a') });
      await rig.changed(person('c', { version: 2 }), ['b']);
      await rig.changed(person('b', { version: 2 }), ['a']);
      assert.deepEqual((await rig.agendaRows()).map((row) => row.personId), ['c']);
      await rig.changed(person('c', { version: 2 }), ['b']);
      await rig.changed(person('a', { version: 9, attributes: { late: true } }));
      assert.deepEqual((await rig.agendaRows()).map((row) => row.personId), ['c']);
      assert.deepEqual(await rig.storage.db.selectFrom('people').select(['gone', 'facts']).where('id', '=', 'a').execute(), [{ gone: 1, facts: '{}' }]);
    });

    test('two who become one are sent to once where the rule says once', async () => {
      const once = await rig.save({ waitMs: DAY, reentry: { kind: 'once' } });
      const always = await rig.save({ waitMs: DAY });
      await rig.event({ person: person('anonymous') });
      await rig.advance(1_000);
      await rig.event({ person: person('ada') });
      await rig.changed(person('ada', { version: 2 }), ['anonymous']);
      assert.deepEqual(await rig.counts(once.automationId), { entered: 2, waiting: 1, sent: 0, left: { merged: 1 }, turnedAway: 0 });
      assert.equal((await rig.counts(always.automationId)).waiting, 2);
      await rig.save({ event: 'else', waitMs: DAY });
      await rig.event({ person: person('third'), name: 'else' });
      await rig.changed(person('ada', { version: 3 }), ['third']);
      assert.equal((await rig.counts(once.automationId)).waiting, 1);
      await rig.event({ person: person('ada', { version: 3 }) });
      assert.equal((await rig.counts(once.automationId)).turnedAway, 1);
    });

    test('what waits goes on under the other id also when both have entered with the same event', async () => {
      const { automationId } = await rig.save({ waitMs: DAY });
      await rig.event({ person: person('anonymous'), eventId: 'shared' });
      await rig.save({ waitMs: 0 }, automationId);
      await rig.event({ person: person('ada'), eventId: 'shared' }, { id: 'once more' });
      await rig.changed(person('ada', { version: 2 }), ['anonymous']);
      assert.deepEqual((await rig.agendaRows()).map((row) => row.personId), ['ada']);
      assert.deepEqual(await rig.storage.db.selectFrom('entries').select(['person_id', 'event_id']).execute(), [{ person_id: 'ada', event_id: 'shared' }]);
    });

    test('what was sent to one of the two keeps the other\'s wait from being sent', async () => {
      const { automationId } = await rig.save({ waitMs: DAY, reentry: { kind: 'once' } });
      await rig.event({ person: person('anonymous') });
      await rig.advance(DAY);
      await rig.event({ person: person('ada') });
      await rig.changed(person('ada', { version: 2 }), ['anonymous']);
      assert.deepEqual(await rig.counts(automationId), { entered: 2, waiting: 0, sent: 1, left: { merged: 1 }, turnedAway: 0 });
    });
  });
});
