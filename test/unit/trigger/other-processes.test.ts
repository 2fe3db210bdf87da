import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { on, once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext as Test } from 'node:test';
import { systemClock } from '../../../src/kernel/clock.ts';
import type { AgendaChildWord } from '../../support/agenda-child.ts';
import { testContext } from '../../support/context.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { TEST_POSTGRES } from '../../support/module-storage.ts';
import { PostgresServer } from '../../support/postgres.ts';
import { person, type RigOptions, TriggerRig } from '../../support/trigger-rig.ts';

const WAIT_MS = 60_000;

/** On one database, at one time that is told to go on. */
async function processes(t: Test, count: number, { dataDir, ...options }: RigOptions = {}): Promise<TriggerRig[]> {
  const place = testContext(dataDir === undefined ? {} : { dataDir });
  const clock = new FakeClock();
  const rigs: TriggerRig[] = [];
  for (let i = 0; i < count; i++) rigs.push(await new TriggerRig({ dataDir: place.dataDir, clock, ...options }).start());
  t.after(async () => {
    for (const rig of rigs) await rig.stop();
    place.remove();
  });
  return rigs;
}

interface AgendaChild {
  /** The next word that looks so. */
  until(looks: (word: AgendaChildWord) => boolean): Promise<AgendaChildWord>;
  kill(signal: NodeJS.Signals): void;
  /** Lets the transaction that stands still come to its end. */
  go(): void;
}

function agendaChild(t: Test, dataDir: string): AgendaChild {
  const child = fork(join(import.meta.dirname, '../../support/agenda-child.js'), [dataDir], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const ended = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    kill: (signal) => void child.kill(signal),
    go: () => void child.send('go'),
    async until(looks) {
      for await (const [word] of on(child, 'message', { signal: AbortSignal.timeout(15_000) }) as AsyncIterable<[AgendaChildWord]>) if (looks(word)) return word;
      throw new Error('the child has ended');
    },
  };
}

describe('of several processes of trigger that store in one database', () => {
  const server = new PostgresServer();
  before(async () => {
    await server.start();
    process.env[TEST_POSTGRES] = String(server.port);
  });
  after(() => server.remove());

  it('each follows at once what another has saved, changed, turned off and on', async (t) => {
    const [one, other] = await processes(t, 2);
    const event = (name: string) => other!.event({ name, person: person('ada') });
    await event('signed up');
    const { automationId } = await one!.save({});
    await event('signed up');
    assert.equal((await other!.sends()).length, 1, 'what was saved');
    await one!.save({ event: 'came back' }, automationId);
    await event('signed up');
    await event('came back');
    assert.equal((await other!.sends()).length, 2, 'what was changed');
    await one!.automations.setAutomationEnabled({ automationId, enabled: false }, one!.call());
    await event('came back');
    assert.equal((await other!.sends()).length, 2, 'what was turned off');
    await one!.automations.setAutomationEnabled({ automationId, enabled: true }, one!.call());
    await event('came back');
    const sends = await other!.sends();
    assert.equal(sends.length, 3, 'what was turned on');
    assert.equal((await one!.counts(automationId)).sent, 3);
    await other!.event({ name: 'came back', person: person('eve') }, { workspace: 'w2' });
    assert.equal((await other!.sends()).length, 3, 'another workspace has no part in it');
  });

  it('many changes of another are all followed', async (t) => {
    const [one, other] = await processes(t, 2);
    await other!.event({ person: person('ada') });
    await Promise.all(Array.from({ length: 120 }, () => one!.save({})));
    await other!.event({ person: person('ada') });
    assert.equal((await other!.sends()).length, 120);
  });

  it('what is due at one moment is fired once, whoever of them is quicker', async (t) => {
    const rigs = await processes(t, 3, { settings: { agendaBatchRows: 7 } });
    const { automationId } = await rigs[0]!.save({ waitMs: WAIT_MS });
    for (let i = 0; i < 60; i++) await rigs[i % 3]!.event({ eventId: `e${i}`, person: person(`p${i}`) }, { id: `e${i}` });
    await rigs[0]!.advance(WAIT_MS);
    const sends = await rigs[0]!.sends();
    assert.equal(new Set(sends.map(({ id }) => id)).size, 60);
    assert.equal(sends.length, 60);
    assert.deepEqual(await rigs[1]!.counts(automationId), { entered: 60, waiting: 0, sent: 60, left: {}, turnedAway: 0 });
  });

  it('a row that none of them can fire is put off once, and nothing else with it', async (t) => {
    const clock = new FakeClock();
    const [one, other] = await processes(t, 2, { clock, settings: { agendaBatchRows: 1 } });
    const { automationId } = await one!.save({ waitMs: WAIT_MS });
    await one!.event({ person: person('broken') });
    await clock.advance(1);
    await other!.event({ eventId: 'second', person: person('ada') });
    await one!.store.transaction(async (tx) => void (await tx.db.updateTable('agenda').set({ event: '{broken' }).where('person_id', '=', 'broken').execute()));
    await clock.advance(WAIT_MS);
    for (let second = 0; second < 120 && (await one!.counts(automationId)).sent < 1; second++) await clock.advance(1_000);
    assert.equal((await one!.counts(automationId)).sent, 1);
    assert.deepEqual((await one!.agendaRows()).map(({ personId }) => personId), ['broken']);
  });

  it('what one has planned is fired by another when the first is gone', async (t) => {
    const [planner, other] = await processes(t, 2);
    await planner!.save({ waitMs: WAIT_MS });
    await planner!.event({ person: person('ada') });
    await planner!.stop();
    await other!.advance(WAIT_MS);
    assert.equal((await other!.sends()).length, 1);
  });

  it('one that stands still while it fires loses what it had in hand to the others, and fires nothing when it goes on', { timeout: 60_000 }, async (t) => {
    const place = testContext();
    t.after(() => place.remove());
    const [rig] = await processes(t, 1, { dataDir: place.dataDir, clock: systemClock });
    const { automationId } = await rig!.save({ waitMs: 1_000 });
    await rig!.agenda.stop(1_000);
    for (let i = 0; i < 20; i++) await rig!.event({ person: person(`p${i}`) });
    const child = agendaChild(t, place.dataDir);
    await child.until(({ say }) => say === 'inside');
    child.kill('SIGSTOP');
    const second = await new TriggerRig({ dataDir: place.dataDir, clock: systemClock }).start();
    t.after(() => second.stop());
    while ((await second.counts(automationId)).waiting > 0) await second.store.transaction(async () => {});
    const sends = await second.sends();
    assert.equal(sends.length, 20);
    const ended = child.until((word) => word.say === 'ended');
    child.kill('SIGCONT');
    child.go();
    const word = await ended;
    assert.ok(word.say === 'ended' && word.as !== 'committed', JSON.stringify(word));
    await child.until(({ say }) => say === 'looked');
    assert.deepEqual(await second.sends(), sends);
    assert.deepEqual(await second.counts(automationId), { entered: 20, waiting: 0, sent: 20, left: {}, turnedAway: 0 });
  });
});
