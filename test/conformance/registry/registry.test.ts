import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import type { RegistryState } from '../../../src/ports/registry.ts';
import { announcementOf, onEachRegistry, untilState, untilToken } from '../../support/registries.ts';

const isFresh = (state: RegistryState): boolean => state.fresh;
const names = (process: string) => (state: RegistryState) => state.announcements.some((one) => one.process === process);

onEachRegistry('registry', ({ create }) => {
  test('shows at once what the topology says, before it is started', async (t) => {
    const states: RegistryState[] = [];
    create(t).watch((state) => states.push(state));
    assert.deepEqual(states.length, 1);
    assert.deepEqual(
      states[0]!.announcements.map(({ host, process, address, contracts }) => ({ host, process, address, contracts })),
      [
        { host: 'app', process: '127.0.0.1:7001', address: '127.0.0.1:7001', contracts: {} },
        { host: 'mailer', process: '127.0.0.1:7002', address: '127.0.0.1:7002', contracts: {} },
      ],
    );
  });

  test('shows what this process announces, as it was announced', async (t) => {
    const registry = create(t);
    await registry.start();
    const announcement = announcementOf({ contracts: { portal: 'a1', trigger: 'b2' }, load: 3 });
    await registry.announce(announcement);
    const state = await untilState(registry, names(announcement.process));
    assert.deepEqual(
      state.announcements.find(({ process }) => process === announcement.process),
      announcement,
    );
  });

  test('shows what was announced before it was started', async (t) => {
    const registry = create(t);
    const announcement = announcementOf();
    await registry.announce(announcement);
    await registry.start();
    await untilState(registry, names(announcement.process));
  });

  test('announced again, the new replaces the old', async (t) => {
    const registry = create(t);
    await registry.start();
    const announcement = announcementOf();
    await registry.announce(announcement);
    await untilState(registry, names(announcement.process));
    await registry.announce({ ...announcement, contracts: { portal: 'new' } });
    const state = await untilState(registry, ({ announcements }) => announcements.some(({ contracts }) => contracts.portal === 'new'));
    assert.equal(state.announcements.filter(({ process }) => process === announcement.process).length, 1);
  });

  test('withdrawn, it is gone; twice is once', async (t) => {
    const registry = create(t);
    await registry.start();
    const announcement = announcementOf();
    await registry.announce(announcement);
    await untilState(registry, names(announcement.process));
    await registry.withdraw();
    await registry.withdraw();
    await untilState(registry, (state) => !names(announcement.process)(state));
  });

  test('becomes fresh, and tells nobody who has ended the watch', async (t) => {
    const registry = create(t);
    const ended: RegistryState[] = [];
    const end = registry.watch((state) => ended.push(state));
    end();
    end();
    await registry.start();
    const announcement = announcementOf();
    await registry.announce(announcement);
    await untilState(registry, (state) => isFresh(state) && names(announcement.process)(state));
    assert.equal(ended.length, 1);
  });

  test('a listener that throws keeps the others from nothing', async (t) => {
    const registry = create(t);
    await registry.start();
    let calls = 0;
    registry.watch(() => {
      if (calls++ > 0) throw new Error('of the listener');
    });
    const announcement = announcementOf();
    await registry.announce(announcement);
    await untilState(registry, names(announcement.process));
    assert.ok(calls > 1);
  });

  test('the only candidate leads, is told so once, and steps down when it resigns', async (t) => {
    const registry = create(t);
    await registry.start();
    const election = registry.elect('agenda');
    assert.equal(election.token, undefined);
    let changes = 0;
    await new Promise<void>((resolve) => {
      election.onChange = () => {
        changes++;
        resolve();
      };
    });
    assert.equal(typeof election.token, 'bigint');
    await election.resign();
    assert.equal(election.token, undefined);
    await election.resign();
    assert.equal(changes, 2);
  });

  test('a candidate from before the start leads after it', async (t) => {
    const registry = create(t);
    const election = registry.elect('agenda');
    await registry.start();
    assert.ok((await untilToken(election, true))! > 0n);
  });

  test('a process stands for an office once at a time, and again after it resigned', async (t) => {
    const registry = create(t);
    await registry.start();
    const first = registry.elect('agenda');
    assert.throws(
      () => registry.elect('agenda'),
      (thrown) => Fault.is(thrown) && thrown.code === 'conflict' && thrown.reason === 'already_candidate',
    );
    const before = (await untilToken(first, true))!;
    await first.resign();
    const after = (await untilToken(registry.elect('agenda'), true))!;
    assert.ok(after >= before);
    registry.elect('another');
  });

  test('stopped, it leads nothing more and tells nobody', async (t) => {
    const registry = create(t);
    await registry.start();
    const election = registry.elect('agenda');
    await untilToken(election, true);
    await untilState(registry, isFresh);
    let changes = 0;
    election.onChange = () => changes++;
    let states = 0;
    registry.watch(() => states++);
    await registry.stop(2_000);
    assert.equal(election.token, undefined);
    assert.equal(changes, 1);
    assert.equal(states, 1);
  });

  test('stops before it started, twice, and in the middle of starting', async (t) => {
    const unstarted = create(t);
    await unstarted.stop(1_000);
    const registry = create(t);
    const starting = registry.start();
    await Promise.all([registry.stop(1_000), registry.stop(1_000), starting]);
    await registry.stop(1_000);
  });
});
