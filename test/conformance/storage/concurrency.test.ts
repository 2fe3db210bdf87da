import assert from 'node:assert/strict';
import { test, type TestContext as Test } from 'node:test';
import type { Storage } from '../../../src/ports/storage.ts';
import { seeded } from '../../support/seed.ts';
import { onEachStorage, type Tables } from '../../support/storages.ts';

const UNCLAIMED = 0;

onEachStorage('several at once', ({ create, place, migration }) => {
  /** Two owners of one database where it can have two, else the same one twice. */
  const owners = async (t: Test): Promise<[Storage<Tables>, Storage<Tables>]> => {
    const where = place(t);
    const one = create(t, where);
    const other = one.capabilities.shared ? create(t, where) : one;
    for (const storage of new Set([one, other])) {
      await storage.start();
      await storage.migrate([migration]);
    }
    return [one, other];
  };

  const put = (storage: Storage<Tables>, ids: readonly string[], n: number): Promise<unknown> =>
    storage.transaction((tx) => tx.db.insertInto('counters').values(ids.map((id) => ({ id, n }))).execute());

  test('two that each read what the other one writes: what holds for all rows together goes on holding', async (t) => {
    const both = await owners(t);
    for (let round = 0; round < 20; round++) {
      // One of the two must stay on call; each goes only where it sees that the other one stays.
      const ids = [`a${round}`, `b${round}`];
      await put(both[0], ids, 1);
      const left = await Promise.all(
        ids.map((id, i) =>
          both[i]!.transaction(async (tx) => {
            const onCall = await tx.db.selectFrom('counters').select('id').where('id', 'in', ids).where('n', '=', 1).execute();
            if (onCall.length < 2) return false;
            await tx.db.updateTable('counters').set({ n: 0 }).where('id', '=', id).execute();
            return true;
          }),
        ),
      );
      assert.equal(left.filter(Boolean).length, 1, `round ${round}`);
    }
  });

  test('rows that several workers claim go to one of them each, and none is left', async (t) => {
    const both = await owners(t);
    const ids = Array.from({ length: 300 }, (_, i) => String(i).padStart(3, '0'));
    await put(both[0], ids, UNCLAIMED);
    const work = async (worker: number): Promise<string[]> => {
      const mine: string[] = [];
      for (;;) {
        const claimed = await both[worker % 2]!.transaction(({ db }) =>
          db
            .updateTable('counters')
            .set({ n: worker })
            .where('id', 'in', db.selectFrom('counters').select('id').where('n', '=', UNCLAIMED).orderBy('id').limit(7))
            .returning('id')
            .execute(),
        );
        if (claimed.length === 0) return mine;
        mine.push(...claimed.map((row) => row.id));
      }
    };
    const claims = await Promise.all([1, 2, 3, 4, 5, 6].map(work));
    assert.deepEqual(claims.flat().sort(), ids);
    for (const [i, mine] of claims.entries()) {
      const rows = await both[0].db.selectFrom('counters').select('id').where('n', '=', i + 1).orderBy('id').execute();
      assert.deepEqual(rows.map((row) => row.id), [...mine].sort());
    }
  });

  test('pages by cursor while others write: what is there all along comes once, in order', async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const both = await owners(t);
    const lasting = Array.from({ length: 200 }, (_, i) => `${String(i).padStart(3, '0')}-lasting`);
    await put(both[0], lasting, 1);
    const paging = new AbortController();
    const writing = (async () => {
      for (let i = 0; !paging.signal.aborted; i++) {
        const passing = `${String(random.whole(200)).padStart(3, '0')}-passing-${i}`;
        await put(both[1], [passing], 1);
        if (i % 2 === 0) await both[1].transaction((tx) => tx.db.deleteFrom('counters').where('id', '=', passing).execute());
      }
    })();
    const seen: string[] = [];
    for (let after = ''; ; ) {
      const page = await both[0].db.selectFrom('counters').select('id').where('id', '>', after).orderBy('id').limit(10).execute();
      seen.push(...page.map((row) => row.id));
      if (page.length < 10) break;
      after = page.at(-1)!.id;
    }
    paging.abort();
    await writing;
    assert.deepEqual(seen, [...new Set(seen)].sort());
    assert.deepEqual(seen.filter((id) => id.endsWith('lasting')), lasting);
  });
});
