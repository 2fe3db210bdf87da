import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Condition } from '../../../modules/trigger/contract.ts';
import { plan } from '../../../modules/trigger/agenda/agenda-statements.ts';
import { testContext } from '../../support/context.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { longestTurn } from '../../support/longest-turn.ts';
import { type RigOptions, TriggerRig, WORKSPACE, person } from '../../support/trigger-rig.ts';

const MINUTE = 60_000;
const DAY = 86_400_000;
const isGold: Condition = { field: 'person.plan', op: 'eq', value: 'gold' };

describe('agenda', () => {
  const withRig = (title: string, body: (rig: TriggerRig, clock: FakeClock) => Promise<void>, options: RigOptions = {}): void => {
    test(title, async () => {
      const rig = await new TriggerRig(options).start();
      try {
        await body(rig, rig.clock as FakeClock);
      } finally {
        await rig.dispose();
      }
    });
  };
  const due = async (rig: TriggerRig) => (await rig.sends()).map(({ request }) => request.personId);

  withRig('fires at its time and not a millisecond before', async (rig) => {
    await rig.save({ waitMs: DAY });
    await rig.event({ person: person('ada') });
    await rig.advance(DAY - 1);
    assert.deepEqual(await due(rig), []);
    await rig.advance(1);
    assert.deepEqual(await due(rig), ['ada']);
    assert.deepEqual(await rig.agendaRows(), []);
  });

  withRig('counts the wait from the event\'s own time; one that is over happens now', async (rig, clock) => {
    const { automationId } = await rig.save({ waitMs: DAY });
    await rig.event({ person: person('late'), time: clock.now() - DAY + MINUTE });
    await rig.event({ person: person('too-late'), time: clock.now() - 400 * DAY });
    assert.deepEqual(await due(rig), ['too-late']);
    await rig.advance(MINUTE);
    assert.deepEqual(await due(rig), ['too-late', 'late']);
    assert.equal((await rig.counts(automationId)).sent, 2);
  });

  withRig('wakes earlier when something is planned before what it waits for', async (rig) => {
    const slow = await rig.save({ waitMs: 10 * DAY });
    const quick = await rig.save({ waitMs: MINUTE, event: 'quick' });
    await rig.event({ person: person('ada') });
    await rig.event({ person: person('bea'), name: 'quick' });
    await rig.advance(MINUTE);
    assert.deepEqual(await due(rig), ['bea']);
    assert.equal((await rig.counts(quick.automationId)).sent, 1);
    assert.equal((await rig.counts(slow.automationId)).waiting, 1);
  });

  withRig('sets one timer, however much is planned', async (rig, clock) => {
    await rig.save({ waitMs: DAY });
    const before = clock.pending;
    for (let i = 0; i < 50; i++) await rig.event({ person: person(`p${i}`), time: clock.now() - i });
    assert.equal(clock.pending, before + 1);
  });

  withRig('fires in order of time, in batches', async (rig, clock) => {
    await rig.save({ waitMs: DAY });
    const order = Array.from({ length: 45 }, (_, i) => (i * 31) % 45);
    for (const i of order) await rig.event({ person: person(`p${i}`), time: clock.now() - 1_000 + i });
    await rig.advance(DAY);
    assert.deepEqual(await due(rig), Array.from({ length: 45 }, (_, i) => `p${i}`));
  }, { settings: { agendaBatchRows: 7 } });

  withRig('asks `still` of the newest person, under the rule that the run began with', async (rig) => {
    const { automationId } = await rig.save({ waitMs: DAY, still: isGold });
    await rig.event({ person: person('ada') });
    await rig.event({ person: person('bea', { attributes: { plan: 'gold' } }) });
    await rig.changed(person('ada', { version: 2, attributes: { plan: 'gold' } }));
    await rig.changed(person('bea', { version: 2 }));
    await rig.save({ waitMs: DAY, still: null, send: { templateId: 'new', channel: 'email' } }, automationId);
    await rig.event({ person: person('cleo') });
    await rig.advance(DAY);
    const sends = (await rig.sends()).map(({ request: { personId, templateId, source } }) => [personId, templateId, source.version]).sort();
    assert.deepEqual(sends, [['ada', 't1', 1], ['cleo', 'new', 2]]);
    assert.deepEqual(await rig.counts(automationId), { entered: 3, waiting: 0, sent: 2, left: { no_longer_qualifies: 1 }, turnedAway: 0 });
  });

  withRig('turning off ends what waits at once, clears it away, and turning on does not bring it back', async (rig) => {
    const { automationId } = await rig.save({ waitMs: DAY });
    const kept = await rig.save({ waitMs: DAY });
    for (let i = 0; i < 30; i++) await rig.event({ person: person(`p${i}`) });
    await rig.automations.setAutomationEnabled({ automationId, enabled: false }, rig.call());
    assert.deepEqual(await rig.counts(automationId), { entered: 30, waiting: 0, sent: 0, left: { turned_off: 30 }, turnedAway: 0 });
    assert.equal((await rig.automations.listAgenda({ automationId, limit: 100 }, rig.call())).items.length, 0);
    assert.equal((await rig.agendaRows()).length, 30);
    await rig.event({ person: person('ada') });
    await rig.automations.setAutomationEnabled({ automationId, enabled: true }, rig.call());
    await rig.event({ person: person('bea') });
    await rig.advance(DAY);
    assert.deepEqual(await rig.counts(automationId), { entered: 31, waiting: 0, sent: 1, left: { turned_off: 30 }, turnedAway: 0 });
    assert.equal((await rig.counts(kept.automationId)).sent, 32);
    assert.deepEqual(await rig.storage.db.selectFrom('purges').selectAll().execute(), []);
    assert.deepEqual(await rig.storage.db.selectFrom('agenda').selectAll().execute(), []);
  });

  test('goes on after a restart with what waited and what was missed meanwhile, in the middle of a clearing, too', async () => {
    const place = testContext();
    const clock = new FakeClock();
    const first = await new TriggerRig({ dataDir: place.dataDir, clock }).start();
    const { automationId } = await first.save({ waitMs: DAY });
    const off = await first.save({ waitMs: DAY });
    for (let i = 0; i < 250; i++) await first.event({ person: person(`p${i}`) });
    await first.agenda.stop(1_000);
    await first.automations.setAutomationEnabled({ automationId: off.automationId, enabled: false }, first.call());
    await first.event({ person: person('last'), time: clock.now() + MINUTE });
    await clock.advance(1);
    assert.equal((await first.storage.db.selectFrom('agenda').select('run_id').execute()).length, 501, 'a stopped agenda clears nothing away');
    await first.stop();
    await clock.advance(DAY);

    const second = await new TriggerRig({ dataDir: place.dataDir, clock, settings: { agendaBatchRows: 20 } }).start();
    await second.advance(0);
    assert.deepEqual(await second.counts(automationId), { entered: 251, waiting: 1, sent: 250, left: {}, turnedAway: 0 });
    assert.deepEqual(await second.counts(off.automationId), { entered: 250, waiting: 0, sent: 0, left: { turned_off: 250 }, turnedAway: 0 });
    await second.advance(MINUTE);
    assert.equal((await second.counts(automationId)).sent, 251);
    assert.equal(new Set((await second.sends()).map(({ id }) => id)).size, 251);
    assert.deepEqual(await second.storage.db.selectFrom('agenda').select('run_id').execute(), []);
    await second.stop();
    place.remove();
  });

  test('catches up on much that was missed without holding up the event loop', async (t) => {
    const rig = await new TriggerRig().start();
    t.after(() => rig.dispose());
    const { automationId } = await rig.save({ waitMs: DAY });
    await rig.event({ person: person('model') });
    const model = await rig.store.db.selectFrom('agenda').selectAll().executeTakeFirstOrThrow();
    const rows = 5_000;
    for (let from = 0; from < rows; from += 500) {
      await rig.store.transaction(async (tx) => {
        for (let i = from; i < from + 500; i++) await tx.run(plan, { ...model, due: model.due + 1, run_id: `r${i}` });
      });
    }
    await rig.store.transaction(async (tx) => void (await tx.db.updateTable('automations').set({ entered: rows + 1, waiting: rows + 1 }).execute()));
    const turn = longestTurn(t);
    await rig.advance(DAY + 1);
    const longestMs = turn.ms();
    assert.deepEqual(await rig.counts(automationId), { entered: rows + 1, waiting: 0, sent: rows + 1, left: {}, turnedAway: 0 });
    assert.ok(longestMs < 250, `held up for ${Math.round(longestMs)} ms`);
  });

  withRig('puts off a row that cannot be fired, and fires the others', async (rig, clock) => {
    const { automationId } = await rig.save({ waitMs: DAY });
    for (let i = 0; i < 5; i++) await rig.event({ person: person(`p${i}`) });
    await rig.store.transaction(async (tx) => {
      await tx.db.updateTable('agenda').set({ event: '{broken' }).where('person_id', '=', 'p2').execute();
    });
    await clock.advance(DAY);
    for (const end = performance.now() + 10_000; (await due(rig)).length < 4 && performance.now() < end; ) await clock.advance(1_000);
    assert.deepEqual((await due(rig)).sort(), ['p0', 'p1', 'p3', 'p4']);
    const [left] = await rig.agendaRows();
    assert.equal(left?.personId, 'p2');
    assert.equal((await rig.counts(automationId)).waiting, 1);
    await rig.store.transaction(async (tx) => {
      await tx.db.updateTable('agenda').set({ event: '{}' }).execute();
    });
    await rig.advance(10 * MINUTE);
    assert.equal((await rig.counts(automationId)).sent, 5);
  });

  withRig('stops twice, in the middle, and fires nothing afterwards', async (rig, clock) => {
    await rig.save({ waitMs: DAY });
    for (let i = 0; i < 50; i++) await rig.event({ person: person(`p${i}`) });
    const advancing = clock.advance(DAY);
    await Promise.all([rig.agenda.stop(1_000), rig.agenda.stop(1_000), advancing]);
    const sent = (await rig.sends()).length;
    await clock.advance(DAY);
    assert.equal((await rig.sends()).length, sent);
    assert.equal(clock.pending, 0);
  }, { settings: { agendaBatchRows: 5 } });

  withRig('lists by automation and person, soonest first, page by page, without reading other rows', async (rig, clock) => {
    const a = await rig.save({ waitMs: DAY });
    const b = await rig.save({ waitMs: 2 * DAY });
    for (let i = 0; i < 7; i++) await rig.event({ person: person(`p${i % 2}`), time: clock.now() - i });
    const pages = async (filter: { automationId?: string; personId?: string }) => {
      const found = [];
      for (let after: string | undefined; ; ) {
        const page = await rig.automations.listAgenda({ ...filter, limit: 2, ...(after === undefined ? {} : { after }) }, rig.call());
        found.push(...page.items);
        if (page.next === null) return found;
        after = page.next;
      }
    };
    const all = await pages({});
    assert.equal(all.length, 14);
    assert.deepEqual(all.map((row) => row.due), all.map((row) => row.due).toSorted((x, y) => x - y));
    assert.deepEqual(await pages({ automationId: b.automationId }), all.filter((row) => row.automationId === b.automationId));
    assert.deepEqual(await pages({ personId: 'p1' }), all.filter((row) => row.personId === 'p1'));
    assert.deepEqual(await pages({ personId: 'p1', automationId: a.automationId }), all.filter((row) => row.personId === 'p1' && row.automationId === a.automationId));
    assert.deepEqual(await pages({ personId: 'nobody' }), []);
    await assert.rejects(rig.automations.listAgenda({ limit: 2, after: 'bad' }, rig.call()), { code: 'invalid' });
  });

  withRig('keeps workspaces apart', async (rig) => {
    await rig.save({ waitMs: DAY });
    await rig.automations.saveAutomation({ name: 'theirs', rule: { ...(await rig.save({ waitMs: DAY })).rule } }, rig.call('w2'));
    await rig.event({ person: person('ada') });
    await rig.event({ person: person('ada') }, { workspace: 'w2' });
    assert.equal((await rig.agendaRows()).length, 2);
    assert.equal((await rig.agendaRows('w2')).length, 1);
    await rig.changed(person('ada', { version: 2, gone: true }), [], { workspace: 'w2' });
    await rig.advance(DAY);
    assert.deepEqual((await rig.sends()).map(({ workspace }) => workspace), [WORKSPACE, WORKSPACE]);
  });
});
