import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { systemCall } from '../../../src/kernel/call.ts';
import { trigger } from '../../../modules/trigger/contract.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { TriggerRig, WORKSPACE, person, rule } from '../../support/trigger-rig.ts';

describe('automations', () => {
  let rig: TriggerRig;
  let clock: FakeClock;
  beforeEach(async () => {
    rig = await new TriggerRig({ settings: { automationsPerWorkspace: 5 } }).start();
    clock = rig.clock as FakeClock;
  });
  afterEach(() => rig.dispose());
  const keyed = (key: string, workspace = WORKSPACE) => rig.call(workspace).with({ idempotencyKey: key });

  test('a new one is on, of version 1, and takes effect with the next event', async () => {
    const saved = await rig.save({ event: 'x' });
    assert.deepEqual(saved, { automationId: saved.automationId, name: 'test', enabled: true, version: 1, rule: rule({ event: 'x' }), createdAt: clock.now(), updatedAt: clock.now() });
    assert.deepEqual(await rig.automations.getAutomation({ automationId: saved.automationId }, rig.call()), saved);
    assert.deepEqual(trigger.operations.saveAutomation.output.parse(saved), saved);
  });

  test('a changed rule is a new version at once, a changed name is not', async () => {
    const { automationId } = await rig.save({ event: 'old' });
    await clock.advance(5);
    const changed = await rig.save({ event: 'new' }, automationId);
    assert.equal(changed.version, 2);
    const renamed = await rig.automations.saveAutomation({ automationId, name: 'other', rule: changed.rule }, rig.call());
    assert.deepEqual(renamed, { ...changed, name: 'other' });
    await rig.event({ person: person('ada'), name: 'old' });
    await rig.event({ person: person('ada'), name: 'new' });
    assert.equal((await rig.counts(automationId)).sent, 1);
    const { items } = await rig.automations.listAutomationVersions({ automationId }, rig.call());
    assert.deepEqual(items.map(({ version, rule: { event }, createdAt }) => [version, event, createdAt]), [[2, 'new', clock.now()], [1, 'old', clock.now() - 5]]);
  });

  test('saving the same again changes nothing', async () => {
    const saved = await rig.save({});
    await clock.advance(5);
    assert.deepEqual(await rig.save({}, saved.automationId), saved);
  });

  test('a change on another version than the newest is refused', async () => {
    const { automationId } = await rig.save({});
    const change = { automationId, name: 'test', rule: rule({ waitMs: 5_000 }), ifVersion: 1 };
    await rig.automations.saveAutomation(change, rig.call());
    await assert.rejects(rig.automations.saveAutomation({ ...change, rule: rule({ waitMs: 6_000 }) }, rig.call()), { code: 'conflict', reason: 'version_changed', details: { version: 2 } });
    await assert.rejects(rig.automations.saveAutomation({ name: 'test', rule: rule(), ifVersion: 1 }, rig.call()), { code: 'conflict', reason: 'version_changed' });
  });

  test('the same idempotency key creates and changes once', async () => {
    const request = { name: 'test', rule: rule() };
    const first = await rig.automations.saveAutomation(request, keyed('k1'));
    assert.deepEqual(await rig.automations.saveAutomation(request, keyed('k1')), first);
    const other = await rig.automations.saveAutomation(request, keyed('k1', 'w2'));
    assert.notEqual(other.automationId, first.automationId);
    const change = { automationId: first.automationId, name: 'test', rule: rule({ waitMs: 5_000 }), ifVersion: 1 };
    const second = await rig.automations.saveAutomation(change, keyed('k2'));
    assert.deepEqual(await rig.automations.saveAutomation(change, keyed('k2')), second);
    assert.equal((await rig.automations.listAutomations({ limit: 10 }, rig.call())).items.length, 1);
  });

  test('somebody else\'s same key, and the same key with another rule, are changes of their own', async () => {
    const { automationId } = await rig.save({});
    const save = (waitMs: number, id: string) =>
      rig.automations.saveAutomation({ automationId, name: 'test', rule: rule({ waitMs }) }, keyed('1').with({ actor: { kind: 'api_key', id } }));
    assert.equal((await save(1_000, 'one')).rule.waitMs, 1_000);
    assert.equal((await save(2_000, 'two')).rule.waitMs, 2_000);
    assert.equal((await save(3_000, 'one')).rule.waitMs, 3_000);
    // A repeat that comes late takes nothing back.
    assert.equal((await save(2_000, 'two')).rule.waitMs, 3_000);
  });

  test('two changes at once: one of them wins, the other is told', async () => {
    const { automationId } = await rig.save({});
    const change = (waitMs: number) => rig.automations.saveAutomation({ automationId, name: 'test', rule: rule({ waitMs }), ifVersion: 1 }, rig.call());
    const results = await Promise.allSettled([change(1_000), change(2_000), change(3_000)]);
    assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected', 'rejected']);
    assert.equal((await rig.automations.getAutomation({ automationId }, rig.call())).version, 2);
  });

  test('lists newest first, page by page, of its own workspace', async () => {
    for (let i = 0; i < 5; i++) {
      await rig.save({ event: `e${i}` });
      if (i % 2 === 0) await clock.advance(1);
    }
    await rig.automations.saveAutomation({ name: 'theirs', rule: rule() }, rig.call('w2'));
    const seen = [];
    for (let after: string | undefined; ; ) {
      const page = await rig.automations.listAutomations({ limit: 2, ...(after === undefined ? {} : { after }) }, rig.call());
      seen.push(...page.items);
      if (page.next === null) break;
      after = page.next;
    }
    assert.equal(new Set(seen.map(({ automationId }) => automationId)).size, 5);
    assert.deepEqual(seen.map(({ createdAt }) => createdAt), seen.map(({ createdAt }) => createdAt).toSorted((a, b) => b - a));
    for (const after of ['', '!', 'e30', Buffer.from('["a","b"]').toString('base64url')]) {
      await assert.rejects(rig.automations.listAutomations({ limit: 2, after }, rig.call()), { code: 'invalid' });
    }
  });

  test('a workspace may have so many and no more', async () => {
    for (let i = 0; i < 5; i++) await rig.save({});
    await assert.rejects(rig.save({}), { code: 'exhausted', reason: 'too_many_automations' });
    await rig.automations.saveAutomation({ name: 'theirs', rule: rule() }, rig.call('w2'));
  });

  test('what is not there, or another workspace\'s, is not found; without a workspace nothing is', async () => {
    const { automationId } = await rig.save({});
    const missing = { code: 'not_found', reason: 'automation_not_found' };
    const { automations } = rig;
    for (const [call, id] of [[rig.call('w2'), automationId], [rig.call(), 'nothing']] as const) {
      await assert.rejects(automations.getAutomation({ automationId: id }, call), missing);
      await assert.rejects(automations.countRuns({ automationId: id }, call), missing);
      await assert.rejects(automations.listAutomationVersions({ automationId: id }, call), missing);
      await assert.rejects(automations.setAutomationEnabled({ automationId: id, enabled: false }, call), missing);
      await assert.rejects(automations.saveAutomation({ automationId: id, name: 'mine now', rule: rule() }, call), missing);
    }
    await assert.rejects(automations.listAutomations({ limit: 1 }, systemCall('test', null, Date.now() + 1_000)), { code: 'denied' });
  });

  test('a rule that means nothing is not stored', async () => {
    await assert.rejects(rig.save({ when: { field: 'event.a', op: 'eq' } }), { code: 'invalid', reason: 'rule_invalid' });
    assert.deepEqual((await rig.automations.listAutomations({ limit: 10 }, rig.call())).items, []);
  });

  test('turning off and on, each twice', async () => {
    const { automationId } = await rig.save({});
    const turn = (enabled: boolean) => rig.automations.setAutomationEnabled({ automationId, enabled }, rig.call());
    for (const enabled of [false, false]) assert.equal((await turn(enabled)).enabled, enabled);
    await rig.event({ person: person('ada') });
    for (const enabled of [true, true]) assert.equal((await turn(enabled)).enabled, enabled);
    await rig.event({ person: person('ada') });
    assert.equal((await rig.counts(automationId)).entered, 1);
  });
});

describe('rules in memory', () => {
  test('workspaces make room for each other and come back when they are asked for', async () => {
    const rig = await new TriggerRig({ settings: { rulesInMemory: 2 } }).start();
    const ids = new Map<string, string>();
    for (const workspace of ['a', 'b', 'c']) {
      for (let i = 0; i < 2; i++) ids.set(workspace, (await rig.automations.saveAutomation({ name: 'x', rule: rule() }, rig.call(workspace))).automationId);
    }
    for (let round = 0; round < 3; round++) {
      for (const workspace of ids.keys()) await rig.event({ eventId: `${workspace}${round}`, person: person('ada') }, { workspace });
    }
    for (const [workspace, id] of ids) assert.equal((await rig.counts(id, workspace)).sent, 3);
    await rig.dispose();
  });

  test('a save during the loading of its workspace is not lost', async () => {
    const rig = await new TriggerRig({ settings: { rulesInMemory: 1 } }).start();
    const model = await rig.save({ event: 'other' });
    // So many that they are read in several turns.
    await rig.store.transaction(async (tx) => {
      const automation = await tx.db.selectFrom('automations').selectAll().executeTakeFirstOrThrow();
      const version = await tx.db.selectFrom('automation_versions').selectAll().executeTakeFirstOrThrow();
      for (let i = 0; i < 400; i++) {
        await tx.db.insertInto('automations').values({ ...automation, id: `${model.automationId}-${i}` }).execute();
        await tx.db.insertInto('automation_versions').values({ ...version, automation_id: `${model.automationId}-${i}` }).execute();
      }
    });
    for (let round = 0; round < 20; round++) {
      // Makes room: the workspace is loaded anew.
      await rig.rules.of('another');
      const [, saved] = await Promise.all([rig.rules.of(WORKSPACE), rig.automations.saveAutomation({ automationId: model.automationId, name: 'test', rule: rule({ event: `e${round}` }) }, rig.call())]);
      await rig.event({ person: person('ada'), name: `e${round}` });
      assert.equal((await rig.counts(saved.automationId)).sent, round + 1);
    }
    await rig.dispose();
  });

  test('a rule that memory is behind on is looked up before anything is done by it', async () => {
    const rig = await new TriggerRig().start();
    const { automationId } = await rig.save({ waitMs: 1_000 });
    const off = await rig.save({});
    const offAndOn = await rig.save({ waitMs: 60_000 });
    await rig.rules.of(WORKSPACE);
    // Changed by another process: nobody tells the index.
    await rig.store.transaction(async (tx) => {
      await tx.db.insertInto('automation_versions').values({ workspace: WORKSPACE, automation_id: automationId, version: 2, rule: JSON.stringify(rule({ waitMs: 0 })), created_at: 0, saved_by: null }).execute();
      await tx.db.updateTable('automations').set({ version: 2 }).where('id', '=', automationId).execute();
      await tx.db.updateTable('automations').set({ enabled: 0, epoch: 2 }).where('id', '=', off.automationId).execute();
      await tx.db.updateTable('automations').set({ epoch: 2 }).where('id', '=', offAndOn.automationId).execute();
    });
    await rig.event({ person: person('ada') });
    assert.deepEqual((await rig.sends()).map(({ request: { source } }) => [source.id, source.version]), [[automationId, 2]]);
    await rig.advance(60_000);
    assert.equal((await rig.counts(offAndOn.automationId)).sent, 1);
    assert.deepEqual(await rig.counts(off.automationId), { entered: 0, waiting: 0, sent: 0, left: {}, turnedAway: 0 });
    await rig.dispose();
  });
});
