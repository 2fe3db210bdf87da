import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { BackupDesk } from '../../../../src/app/backup/desk.ts';
import { JointDesk } from '../../../../src/app/backup/joint-desk.ts';
import { momentOf, type Participant, type Taking } from '../../../../src/app/backup/moment.ts';
import { OwnDesk } from '../../../../src/app/backup/own-desk.ts';
import { systemCall } from '../../../../src/kernel/call.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import type { Storage } from '../../../../src/ports/storage.ts';
import { rejectsWith } from '../../../support/faults.ts';
import { seeded } from '../../../support/seed.ts';
import { onEachStorage, type Tables } from '../../../support/storages.ts';

/** A storage whose snapshots take their time before they are opened. */
function openedAfter(storage: Storage, ms: () => number): Storage {
  const late = async () => {
    await new Promise((resolve) => setTimeout(resolve, ms()));
    return storage.snapshot();
  };
  return new Proxy(storage, {
    get(target, property) {
      if (property === 'snapshot') return late;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Each of these processes has a main thread and other threads, with databases of their own. */
function taking(processes: readonly (readonly Readonly<Record<string, Storage>>[])[], more: Partial<Taking> = {}): Taking {
  const desks = processes.map((threads) => threads.map((databases) => new OwnDesk({ databases: new Map(Object.entries(databases)) })));
  const participants = desks.map((own, at): Participant => ({ name: `host ${at + 1}`, desk: new JointDesk(() => own) }));
  return { participants: () => participants, expected: processes.flat().flatMap(Object.keys), ...more };
}

async function writes(storage: Storage): Promise<void> {
  await (storage as Storage<Tables>).transaction(async (tx) => void (await tx.db.insertInto('counters').values({ id: 'n', n: 0 }).execute()));
}

onEachStorage('databases at one moment', ({ open }) => {
  test('none shows what another does not know of yet, while one passes on what the other has', async (t) => {
    const stores = [await open(t), await open(t), await open(t)];
    for (const store of stores) await store.transaction((tx) => tx.db.insertInto('counters').values({ id: 'n', n: 0 }).execute());
    const random = seeded((line) => t.diagnostic(line));
    const [one, two, three] = stores.map((storage) => openedAfter(storage, () => random.whole(20))) as [Storage, Storage, Storage];
    const apart = taking([[{ first: one }], [{ second: two }, { third: three }]]);
    let isOn = true;
    // Each number is in the first before it is in the second, and so on, and then comes round again.
    const passing = (async () => {
      for (let n = 1; isOn; n++) for (const store of stores) await store.transaction((tx) => tx.db.updateTable('counters').set({ n }).execute());
    })();
    let longestMs = 0;
    for (let round = 0; round < 15; round++) {
      const { sources, heldMs, close } = await momentOf(apart);
      const [first, second, third] = await Promise.all(sources.map(async (source) => {
        const { columns } = source.tables.find(({ name }) => name === 'counters')!;
        for await (const [line] of source.lines('counters')) return (JSON.parse(line!) as unknown[])[columns.indexOf('n')] as number;
        return assert.fail('the counter is missing');
      }));
      assert.ok(first! >= second! && second! >= third! && first! - third! <= 1, `${first}, ${second}, ${third}`);
      longestMs = Math.max(longestMs, heldMs);
      await close();
    }
    isOn = false;
    await passing;
    assert.ok(longestMs <= 1_000);
    t.diagnostic(`writers held back for ${longestMs} ms at most`);
  });

  test('a database that does not come to rest lets the others go on in time, and is told of', async (t) => {
    const [busy, idle] = [await open(t), await open(t)];
    const { promise, resolve: end } = Promise.withResolvers<void>();
    const keeping = busy.transaction(() => promise, { timeoutMs: 30_000 });
    const asked = rejectsWith('unavailable', momentOf(taking([[{ busy }], [{ idle }]], { holdMs: 20 })), 'no_moment');
    const began = performance.now();
    await writes(idle);
    assert.ok(performance.now() - began < 1_000);
    await asked;
    end();
    await keeping;
  });

  test('a process that could write again before all were let go is asked once more', async (t) => {
    const [near, far] = [await open(t), await open(t)];
    const { participants, expected } = taking([[{ near }], [{ far }]]);
    const [first, { desk }] = participants() as [Participant, { readonly desk: BackupDesk }];
    let opened = 0;
    const late: BackupDesk['open'] = async (request, call) => {
      const answer = await desk.open(request, call);
      if (++opened === 1) await pause(350);
      return answer;
    };
    const { close } = await momentOf({ participants: () => [first, { name: 'far', desk: { ...bound(desk), open: late } }], expected, holdMs: 300 });
    await close();
    assert.ok(opened > 1, 'it was taken all the same');
  });

  test('a process that is no longer heard of holds up nobody, and what was opened for it is closed', async (t) => {
    const [near, far] = [await open(t), await open(t)];
    const { participants, expected } = taking([[{ near }], [{ far }]]);
    const [first, second] = participants() as [Participant, Participant];
    const desk = second.desk as BackupDesk;
    // It hears nothing from its hold on, as from a process that was killed there.
    const silent: BackupDesk = { ...bound(desk), open: () => Promise.reject(new Fault('unavailable', 'gone')), close: async () => ({}), release: () => Promise.reject(new Fault('unavailable', 'gone')) };
    // And a second try is told that the first stands in its way, until the silence has been long enough.
    await rejectsWith('conflict', momentOf({ participants: () => [first, { name: 'far', desk: silent }], expected, holdMs: 100 }), 'backup_under_way');
    const began = performance.now();
    await writes(near);
    await writes(far);
    assert.ok(performance.now() - began < 1_000);
  });

  test('what several processes have open is taken once, and what nobody has open is told with those who cannot be asked', async (t) => {
    const storage = await open(t);
    const { participants } = taking([[{ one: storage }], [{ other: storage }]]);
    const away = { name: 'host away', desk: new Fault('unavailable', 'It is not connected.') };
    const all = () => [...participants(), away];
    const twice = momentOf({ participants: () => [participants()[0]!, { name: 'again', desk: participants()[0]!.desk }], expected: ['one'] });
    if (storage.capabilities.shared) {
      const { sources, close } = await twice;
      assert.deepEqual(sources.map(({ name }) => name), ['one']);
      await close();
    } else await rejectsWith('unavailable', twice, 'no_moment');
    const [{ name }, stranger] = [participants()[0]!, new JointDesk(() => [], () => 'of another secret')];
    await rejectsWith('denied', stranger.hold({ backup: 'b', proof: '', databases: [], mostMs: 100 }, systemCall(name, null, Date.now() + 1_000)), 'denied');
    await assert.rejects(momentOf({ participants: all, expected: ['one', 'third'] }), /third[\s\S]*host away: It is not connected/);
  });
});

function bound(desk: BackupDesk): BackupDesk {
  return Object.fromEntries((['databases', 'hold', 'open', 'release', 'show', 'read', 'keep', 'close'] as const).map((name) => [name, desk[name].bind(desk)])) as unknown as BackupDesk;
}
