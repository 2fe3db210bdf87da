import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext as Test } from 'node:test';
import { Connection } from '../../../../../adapters/storage/sqlite/connection.ts';
import { GroupCommit, type GroupLimits, type LogDurability } from '../../../../../adapters/storage/sqlite/group-commit.ts';
import { Fault } from '../../../../../src/kernel/fault.ts';
import { testContext } from '../../../../support/context.ts';
import { rejectsWith } from '../../../../support/faults.ts';

/** A real connection whose control statements can be made to fail as they do on a broken disk, and that counts what it is asked. */
class BreakableConnection extends Connection {
  readonly asked: Record<string, number> = {};
  /** The control statement that fails. */
  broken: string | undefined;

  override control(sql: string): () => void {
    const run = super.control(sql);
    return () => {
      this.asked[sql] = (this.asked[sql] ?? 0) + 1;
      if (sql === this.broken) throw Object.assign(new Error('disk I/O error'), { code: 'ERR_SQLITE_ERROR', errcode: 1034 });
      run();
    };
  }
}

/** Durable at once. */
const ALWAYS: LogDurability = { sync: () => undefined, whenDurable: () => undefined };

/** However slow the machine, a group ends by count or when nobody waits. */
const LIMITS: GroupLimits = { maxWaiting: 10_000, groupMs: 60_000 };

interface Rig {
  readonly connection: BreakableConnection;
  readonly commits: GroupCommit;
  readonly failures: number[];
  insert(id: string): Promise<void>;
  ids(): unknown[];
}

function rig(t: Test, limits = LIMITS): Rig {
  const place = testContext();
  const connection = new BreakableConnection({ path: join(place.dataDir, 'x.sqlite'), role: 'writer', cacheKb: 64 });
  connection.execute('CREATE TABLE t (id TEXT PRIMARY KEY)', []);
  const failures: number[] = [];
  const commits = new GroupCommit(connection, ALWAYS, { committed: () => undefined, failed: (_, transactions) => failures.push(transactions) }, limits);
  t.after(async () => {
    await commits.stop(100);
    connection.close();
    place.remove();
  });
  return {
    connection,
    commits,
    failures,
    insert: (id) => commits.run(async () => void connection.execute('INSERT INTO t VALUES (?)', [id]), 1_000),
    ids: () => connection.execute<{ id: string }>('SELECT id FROM t ORDER BY id', []).rows.map((row) => row.id),
  };
}

test('transactions of one turn share one commit', async (t) => {
  const { connection, insert, ids } = rig(t);
  await Promise.all(['a', 'b', 'c', 'd'].map(insert));
  assert.equal(connection.asked.COMMIT, 1);
  // The first needs none: undoing it is undoing everything.
  assert.equal(connection.asked['SAVEPOINT one'], 3);
  assert.deepEqual(ids(), ['a', 'b', 'c', 'd']);
});

test('whichever of a group fail, their writes go and those of the others stay', async (t) => {
  for (const failing of [[0], [1], [0, 1], [0, 2], [1, 3], [0, 1, 2, 3]]) {
    const { connection, commits, ids } = rig(t);
    const outcomes = await Promise.allSettled(
      [0, 1, 2, 3].map((i) =>
        commits.run(async () => {
          connection.execute('INSERT INTO t VALUES (?)', [String(i)]);
          if (failing.includes(i)) throw new Fault('conflict', 'no');
        }, 1_000),
      ),
    );
    assert.deepEqual(outcomes.flatMap(({ status }, i) => (status === 'rejected' ? [i] : [])), failing);
    assert.deepEqual(ids(), ['0', '1', '2', '3'].filter((id) => !failing.includes(Number(id))));
    assert.equal(connection.asked.COMMIT, 1);
  }
});

test('those that come while a group runs join it', async (t) => {
  const { connection, commits, insert } = rig(t);
  let joined: Promise<void> | undefined;
  await commits.run(async () => {
    joined = insert('later');
    await new Promise((resolve) => setImmediate(resolve));
  }, 1_000);
  await joined;
  assert.equal(connection.asked.COMMIT, 1);
});

test('a group has an end: 512 transactions', async (t) => {
  const { connection, insert } = rig(t);
  await Promise.all(Array.from({ length: 1_100 }, (_, i) => insert(String(i))));
  assert.equal(connection.asked.COMMIT, 3);
});

test('a group has an end: its time', async (t) => {
  const { connection, commits } = rig(t, { maxWaiting: 10, groupMs: 0 });
  await Promise.allSettled([commits.run(async () => {}, 1_000), commits.run(async () => {}, 1_000)]);
  await commits.stop(100);
  assert.ok(connection.asked.COMMIT! >= 2, String(connection.asked.COMMIT));
});

test('nothing is answered before the commit', async (t) => {
  const { connection, commits } = rig(t);
  const commitsSeen: (number | undefined)[] = [];
  const note = () => void commitsSeen.push(connection.asked.COMMIT);
  await Promise.all([
    commits.run(async () => {}, 1_000).then(note),
    commits.run(async () => Promise.reject(new Error('no')), 1_000).catch(note),
    commits.run(() => new Promise((resolve) => setTimeout(resolve, 20)), 1_000).then(note),
  ]);
  assert.deepEqual(commitsSeen, [1, 1, 1]);
});

test('when the commit fails everyone is told so, even one that failed over a neighbour\'s row', async (t) => {
  const { connection, insert, ids, failures } = rig(t);
  connection.broken = 'COMMIT';
  const outcomes = await Promise.allSettled([insert('a'), insert('a'), insert('b')]);
  assert.deepEqual(outcomes.map((outcome) => outcome.status === 'rejected' && [outcome.reason.code, outcome.reason.origin]), Array(3).fill(['unavailable', 'lost']));
  assert.deepEqual(ids(), []);
  assert.deepEqual(failures, [3]);
  connection.broken = undefined;
  await insert('a');
  await rejectsWith('conflict', insert('a'));
  assert.deepEqual(ids(), ['a']);
});

test('when SQLite gives the whole transaction up, none of the group is acknowledged', async (t) => {
  const { connection, commits, insert, ids } = rig(t);
  const rollback = connection.control('ROLLBACK');
  const first = insert('a');
  // As SQLite does by itself when the disk is full in the middle of a statement.
  const second = commits.run(async () => {
    rollback();
    throw new Fault('exhausted', 'The disk is full.');
  }, 1_000);
  const third = insert('c');
  const outcomes = await Promise.allSettled([first, second, third]);
  assert.deepEqual(outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason.code : 'ok')), ['exhausted', 'exhausted', 'ok']);
  assert.deepEqual(ids(), ['c']);
});

test('a transaction that cannot be undone by itself takes its group with it', async (t) => {
  const { connection, commits, insert, ids } = rig(t);
  connection.broken = 'ROLLBACK TO one';
  const neighbour = insert('a');
  const failing = commits.run(async () => {
    connection.execute('INSERT INTO t VALUES (?)', ['half']);
    throw new Error('no');
  }, 1_000);
  const outcomes = await Promise.allSettled([neighbour, failing]);
  assert.deepEqual(outcomes.map((outcome) => outcome.status), ['rejected', 'rejected']);
  assert.deepEqual(ids(), []);
  await insert('after');
  assert.deepEqual(ids(), ['after']);
});

test('a stop whose deadline has passed before a group began', async (t) => {
  const { commits, insert } = rig(t);
  const waiting = insert('a');
  const stopping = commits.stop(0);
  // The timer of the deadline and the turn that the group waits for: either may come first.
  for (const until = Date.now() + 5; Date.now() < until; );
  const [outcome] = await Promise.allSettled([waiting, stopping]);
  if (outcome!.status === 'rejected') assert.equal(outcome!.reason.code, 'unavailable');
});

test('the next group waits for what follows a commit', async (t) => {
  const place = testContext();
  const connection = new Connection({ path: join(place.dataDir, 'x.sqlite'), role: 'writer', cacheKb: 64 });
  let open: (() => void) | undefined;
  const commits = new GroupCommit(connection, ALWAYS, { committed: () => (open === undefined ? new Promise<void>((resolve) => (open = resolve)) : undefined), failed: () => {} }, LIMITS);
  t.after(() => {
    connection.close();
    place.remove();
  });
  await commits.run(async () => {}, 1_000);
  let ran = false;
  const second = commits.run(async () => void (ran = true), 1_000);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(ran, false);
  open!();
  await second;
  await commits.stop(100);
});
