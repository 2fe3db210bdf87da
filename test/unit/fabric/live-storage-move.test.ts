import assert from 'node:assert/strict';
import { after, before, test, type TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { sql } from 'kysely';
import type { LiveMoveLedger } from '../../../src/fabric/live-move-ledger.ts';
import type { LiveMoveProgress } from '../../../src/fabric/live-move-progress.ts';
import { LiveStorageMove } from '../../../src/fabric/live-storage-move.ts';
import type { ReadFigures } from '../../../src/fabric/compared-reads.ts';
import { MovableStorage } from '../../../src/fabric/movable-storage.ts';
import { compareContents } from '../../../src/fabric/storage-compare.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import { type Migration, type Storage, statement } from '../../../src/ports/storage.ts';
import { silentLog } from '../../support/context.ts';
import { rejectsWith } from '../../support/faults.ts';
import { PostgresServer } from '../../support/postgres.ts';
import { seeded } from '../../support/seed.ts';
import { type StorageDriverName, underTest } from '../../support/storages.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';

const server = new PostgresServer();
before(() => server.start());
after(() => server.remove());

const MIGRATION: Migration = {
  name: '0001-live',
  async up(db) {
    await db.schema.createTable('z_parents').addColumn('workspace', 'text', (c) => c.notNull()).addColumn('n', 'integer', (c) => c.notNull()).addColumn('name', 'text').addPrimaryKeyConstraint('z_parents_pk', ['workspace', 'n']).execute();
    await db.schema.createTable('children').addColumn('id', 'text', (c) => c.primaryKey()).addColumn('workspace', 'text').addColumn('n', 'integer').addColumn('bytes', 'blob').addForeignKeyConstraint('child_of', ['workspace', 'n'], 'z_parents', ['workspace', 'n']).execute();
    await db.schema.createTable('counted').addColumn('seq', 'integer', (c) => c.primaryKey().autoIncrement()).addColumn('body', 'text').execute();
    await db.schema.createTable('keyless').addColumn('body', 'text').execute();
    await db.schema.createTable('branches').addColumn('id', 'text', (c) => c.primaryKey()).addColumn('parent', 'text', (c) => c.references('branches.id')).execute();
  },
};

/** Writers that never rest, each of whose transactions is remembered when it was told to be committed. */
class Load {
  readonly committed = new Set<string>();
  slowestMs = 0;
  #isOn = true;
  readonly #running: Promise<void>[];

  constructor(storage: Storage, prefix: string, chance: { whole(below: number): number }, writers = 8) {
    this.#running = Array.from({ length: writers }, (_, writer) => this.#write(storage, `${prefix}${writer}`, chance));
  }

  async stop(): Promise<void> {
    this.#isOn = false;
    await Promise.all(this.#running);
  }

  async #write(storage: Storage, name: string, chance: { whole(below: number): number }): Promise<void> {
    for (let n = 0; this.#isOn; n++) {
      const id = `${name}-${n}\u{1f600}`;
      const began = performance.now();
      await storage.transaction(async ({ db }) => {
        await db.insertInto('z_parents').values({ workspace: name, n, name: 'Ana' }).execute();
        await db.insertInto('children').values({ id, workspace: name, n, bytes: Uint8Array.of(n % 256) }).execute();
        await db.insertInto('counted').values({ body: id }).execute();
        if (n % 3 === 0) await db.deleteFrom('counted').where('body', '=', `${name}-${n - 3}\u{1f600}`).execute();
        if (n % 5 === 0) await db.updateTable('z_parents').set({ name: `changed ${n}` }).where('workspace', '=', name).where('n', '=', chance.whole(n + 1)).execute();
        if (n % 7 === 0) await db.insertInto('keyless').values({ body: id }).execute();
      });
      this.slowestMs = Math.max(this.slowestMs, performance.now() - began);
      this.committed.add(id);
    }
  }
}

interface Moving {
  readonly storage: MovableStorage;
  readonly from: Storage;
  readonly to: Storage;
  readonly move: LiveStorageMove;
  readonly noted: string[];
  /** What was logged as an error. */
  readonly said: object[];
  /** Both sides as another process would open them. */
  reopened(): { readonly from: Storage; readonly to: Storage };
}

async function moving(t: TestContext, source: StorageDriverName, target: StorageDriverName, breaks: (what: string) => boolean = () => false, settings: object = {}): Promise<Moving> {
  const maker = (driver: StorageDriverName): (() => Storage) => {
    const under = underTest(driver, driver === 'postgres' ? server : undefined);
    const place = under.place(t);
    return () => under.create(t, place, driver === 'postgres' ? settings : {});
  };
  const [makeFrom, makeTo] = [maker(source), maker(target)];
  const [from, to] = [makeFrom(), makeTo()];
  const storage = new MovableStorage(from);
  await storage.start();
  await storage.migrate([MIGRATION]);
  const noted: string[] = [];
  const note = (what: string) => async () => {
    if (breaks(what)) throw new Error('the disk failed, for a test');
    noted.push(what);
  };
  const ledger: LiveMoveLedger = { begin: note('begin'), following: note('following'), switched: note('switched'), back: note('back'), finish: note('finish') };
  const said: object[] = [];
  const log: Log = { ...silentLog, error: (fields: object) => void said.push(fields) };
  const move = new LiveStorageMove({ storage, from, to, migrations: [MIGRATION], ledger, isUnfinished: false, log });
  t.after(() => storage.stop(1_000));
  return { storage, from, to, move, noted, said, reopened: () => ({ from: makeFrom(), to: makeTo() }) };
}

async function until(move: LiveStorageMove, state: LiveMoveProgress['state']): Promise<void> {
  for (const end = Date.now() + 60_000; move.progress.state !== state; await pause(10)) {
    if (move.progress.state === 'failed' || Date.now() > end) throw new Error(JSON.stringify(move.progress));
  }
}

async function requireAll(storage: Storage, load: Load): Promise<void> {
  const there = new Set((await storage.db.selectFrom('children').select('id').execute()).map(({ id }) => id as string));
  const lost = [...load.committed].filter((id) => !there.has(id));
  assert.deepEqual(lost, []);
}

interface Tables {
  z_parents: { workspace: string; n: number; name: string };
}
const parentsOf = statement<Tables, { workspace: string }>()((db, p) => db.selectFrom('z_parents').selectAll().where('workspace', '=', p('workspace')).orderBy('n'));

/** A standstill that a busy machine does not come to within a second is not tried again for the same read. */
async function untilReads(move: LiveStorageMove, isSo: (reads: ReadFigures) => boolean, again: () => Promise<unknown>): Promise<void> {
  for (const end = Date.now() + 40_000; !isSo(move.progress.reads!); await pause(10)) {
    assert.ok(Date.now() < end, JSON.stringify(move.progress));
    if (move.progress.reads!.waiting === 0) await again();
  }
}

test('while the new storage follows, reads of chosen workspaces are made on both sides, and it counts only when none has differed', { timeout: 60_000 }, async (t) => {
  const proxy = await TcpProxy.start(server.port);
  t.after(() => proxy.stop());
  const { storage, from, to, move, noted, said } = await moving(t, 'sqlite', 'postgres', () => false, { port: proxy.port });
  const add = (workspace: string, n: number) => storage.transaction((tx) => tx.db.insertInto('z_parents').values({ workspace, n, name: 'ana@example.com' }).execute());
  for (const workspace of ['one', 'other']) await add(workspace, 1);
  storage.accompany(move);
  assert.equal(await move.begin(['one']), true);
  assert.deepEqual([move.progress.state, storage.side === from, noted], ['following', true, ['begin', 'following']]);
  const query = (workspace: string) => storage.db.selectFrom('z_parents').selectAll().where('workspace', '=', workspace).execute();
  const row = { workspace: 'one', n: 1, name: 'ana@example.com' };
  assert.deepEqual([await query('one'), await storage.run(parentsOf, { workspace: 'one' }), await query('other')], [[row], [row], [{ ...row, workspace: 'other' }]]);
  assert.deepEqual([move.progress.reads!.same, move.progress.reads!.of], [2, ['one']]);
  move.read('all');
  await query('other');
  assert.equal(move.progress.reads!.same, 3);
  // Each reads what it has just written, which the new side does not have yet.
  let last = 1;
  const readOwn = async () => {
    await add('one', ++last);
    assert.equal((await query('one')).length, last);
  };
  while (last < 12) await readOwn();
  await untilReads(move, ({ behind }) => behind > 0, readOwn);
  assert.equal(move.progress.reads!.differed, 0);

  await to.transaction((tx) => tx.db.updateTable('z_parents').set({ name: 'ben@example.com' }).where('n', '=', 1).where('workspace', '=', 'one').execute());
  assert.ok((await query('one')).every(({ name }) => name === 'ana@example.com'), 'the old side answers');
  await untilReads(move, ({ differed }) => differed > 0, () => query('one'));
  assert.match(move.progress.problem!, /Reads differ in the new storage: 1/);
  assert.match(JSON.stringify(said), /"tables":\["z_parents"\].*"isOrder":false,"rows":\["n=1, workspace=sha256:/);
  assert.ok(!JSON.stringify(said).includes('example.com'));
  assert.throws(() => move.requireAlike(), { reason: 'reads_differ' });
  assert.deepEqual([await move.switchOver(), move.progress.state, storage.side === from], [false, 'following', true]);

  proxy.freeze();
  const took: number[] = [];
  for (let n = 0; n < 2; n++) {
    const began = performance.now();
    assert.equal((await query('one')).length, last);
    took.push(performance.now() - began);
  }
  proxy.thaw();
  assert.ok(took[0]! < 5_000 && took[1]! < 900, `${took.join(' and ')} ms`);
  assert.ok(move.progress.reads!.failed > 0);

  await move.back();
  assert.deepEqual([move.progress.state, noted.slice(2)], ['back', ['begin', 'back']]);
  await add('one', ++last);
  const left = await from.snapshot();
  assert.ok(!left.tables.some(({ name }) => name === 'storage_changes'), 'nothing is recorded any more');
  await left.close();
});

test('a new storage that follows goes on over a kill, and counts under load with nothing lost', { timeout: 60_000 }, async (t) => {
  const { storage, move, reopened, noted } = await moving(t, 'sqlite', 'postgres');
  storage.accompany(move);
  assert.equal(await move.begin('all'), true);
  await storage.stop(5_000);

  const { from, to } = reopened();
  // As far as one comes that is killed before it has carried anything over.
  const again = new MovableStorage(from);
  t.after(() => again.stop(1_000));
  await again.start();
  await again.transaction((tx) => tx.db.insertInto('keyless').values({ body: 'before' }).execute());
  await again.transaction((tx) => tx.db.insertInto('z_parents').values({ workspace: 'w', n: 1, name: 'Ana' }).execute());
  const note = (what: string) => async () => void noted.push(what);
  const resumed = new LiveStorageMove({ storage: again, from, to, migrations: [MIGRATION], ledger: { begin: note('begin'), following: note('following'), switched: note('switched'), back: note('back'), finish: note('finish') }, isUnfinished: true, log: silentLog });
  again.accompany(resumed);
  await resumed.start();
  assert.equal(resumed.progress.state, 'following');
  for (const end = Date.now() + 20_000; resumed.progress.changes === 0; await pause(10)) assert.ok(Date.now() < end, 'the new side does not follow');
  resumed.read('all');
  const load = new Load(again, 'a', seeded((line) => t.diagnostic(line)), 1);
  for (let n = 0; n < 100; n++) await again.run(parentsOf, { workspace: n % 2 === 0 ? 'a0' : 'w' });
  assert.equal(await resumed.switchOver(), true);
  const atSwitch = load.committed.size;
  while (load.committed.size < atSwitch + 50) await pause(5);
  await load.stop();
  const { same, behind, differed, unchecked, failed } = resumed.progress.reads!;
  t.diagnostic(`reads: ${same} the same, ${behind} behind, ${differed} differ, ${unchecked} not looked at again, ${failed} failed; held back for ${resumed.progress.longestHoldMs} ms at most`);
  assert.deepEqual([again.side === to, differed, failed, noted], [true, 0, 0, ['begin', 'following', 'switched']]);
  assert.equal(same + behind + unchecked, 100);
  assert.equal((await to.db.selectFrom('z_parents').selectAll().where('workspace', '=', 'w').execute()).length, 1);
  await requireAll(to, load);
});

for (const [source, target] of [['sqlite', 'postgres'], ['postgres', 'sqlite']] as const) {
  test(`from ${source} to ${target} under load, and back again, with nothing lost and nobody held up for long`, { timeout: 120_000 }, async (t) => {
    const chance = seeded((line) => t.diagnostic(line));
    const { storage, from, to, move, noted } = await moving(t, source, target);
    const load = new Load(storage, 'a', chance);
    while (load.committed.size < 100) await pause(5);
    storage.accompany(move);
    void move.begin();
    await until(move, 'switched');
    assert.equal(storage.side, to);
    const atSwitch = load.committed.size;
    while (load.committed.size < atSwitch + 100) await pause(5);
    await move.back();
    assert.equal(storage.side, from);
    const atReturn = load.committed.size;
    while (load.committed.size < atReturn + 50) await pause(5);
    await load.stop();
    await requireAll(from, load);
    assert.deepEqual(noted, ['begin', 'switched', 'back']);
    const { longestHoldMs, changes, compared } = move.progress;
    t.diagnostic(`${load.committed.size} transactions, ${changes} changes carried over, held back for ${longestHoldMs} ms at most, slowest transaction ${Math.round(load.slowestMs)} ms`);
    assert.ok(compared.length === 5 && compared.every(({ isSame }) => isSame));
    const left = await from.snapshot();
    assert.ok(!left.tables.some(({ name }) => name === 'storage_changes'), 'nothing is recorded any more');
    await left.close();
  });
}

test('what is written after the switch is on both sides until the old one is let go, over a restart too', { timeout: 60_000 }, async (t) => {
  const { storage, move, noted, reopened } = await moving(t, 'sqlite', 'postgres');
  storage.accompany(move);
  void move.begin();
  await rejectsWith('conflict', move.back(), 'not_switched');
  await until(move, 'switched');
  await storage.transaction((tx) => tx.db.insertInto('z_parents').values({ workspace: 'w', n: 1, name: 'Ana' }).execute());
  await storage.stop(5_000);

  const { from, to } = reopened();
  const again = new MovableStorage(to);
  const ledger: LiveMoveLedger = { begin: async () => {}, following: async () => {}, switched: async () => {}, back: async () => {}, finish: async () => void noted.push('finish') };
  const resumed = new LiveStorageMove({ storage: again, from, to, migrations: [MIGRATION], ledger, isUnfinished: true, log: silentLog });
  again.accompany(resumed);
  t.after(() => again.stop(1_000));
  await again.start();
  await again.transaction((tx) => tx.db.insertInto('z_parents').values({ workspace: 'w', n: 2, name: 'Ben' }).execute());
  for (const end = Date.now() + 20_000; ; await pause(10)) {
    const rows = resumed.progress.changes > 0 ? await from.db.selectFrom('z_parents').selectAll().execute() : [];
    if (rows.length === 2) break;
    assert.ok(Date.now() < end, 'the old side does not follow');
  }
  assert.ok((await compareContents(to, from, () => {})).every(({ isSame }) => isSame));
  await resumed.finish();
  assert.deepEqual(noted, ['begin', 'switched', 'finish']);
  await rejectsWith('conflict', resumed.back(), 'not_switched');
  await again.transaction((tx) => tx.db.insertInto('keyless').values({ body: 'goes on' }).execute());
});

test('of two who end a move at once one is refused, and work goes on with the side that counts', { timeout: 60_000 }, async (t) => {
  const { storage, from, move, noted } = await moving(t, 'sqlite', 'postgres');
  storage.accompany(move);
  void move.begin();
  await until(move, 'switched');
  const ends = [move.back(), move.finish(), move.back()];
  assert.deepEqual((await Promise.allSettled(ends)).map(({ status }) => status), ['fulfilled', 'rejected', 'rejected']);
  await rejectsWith('conflict', ends[1]!, 'not_switched');
  assert.deepEqual([noted, storage.side === from, move.progress.state], [['begin', 'switched', 'back'], true, 'back']);
  await storage.transaction((tx) => tx.db.insertInto('keyless').values({ body: 'goes on' }).execute());
});

test('what one row gives away and another one takes is carried over, whichever of them comes first', { timeout: 60_000 }, async (t) => {
  for (const [source, target] of [['sqlite', 'postgres'], ['postgres', 'sqlite']] as const) {
    const { storage, move } = await moving(t, source, target);
    const names = (db: Storage['db']) => db.selectFrom('z_parents').select(['n', 'name']).orderBy('n').execute();
    await storage.transaction(async ({ db }) => {
      await sql`create unique index one_name on z_parents (name)`.execute(db);
      await db.insertInto('z_parents').values([{ workspace: 'w', n: 1, name: 'a' }, { workspace: 'w', n: 2, name: 'b' }, { workspace: 'w', n: 3, name: 'c' }]).execute();
    });
    storage.accompany(move);
    void move.begin();
    await until(move, 'switched');
    await storage.transaction(async ({ db }) => {
      for (const [n, name] of [[3, 'd'], [2, 'c'], [1, 'b']] as const) await db.updateTable('z_parents').set({ name }).where('n', '=', n).execute();
    });
    await move.back();
    assert.deepEqual(await names(storage.db), [{ n: 1, name: 'b' }, { n: 2, name: 'c' }, { n: 3, name: 'd' }]);
  }
});

test('rows that refer to many others of their own table come and go, whichever of them changed first', { timeout: 60_000 }, async (t) => {
  const { storage, from, move, reopened } = await moving(t, 'postgres', 'sqlite');
  storage.accompany(move);
  void move.begin();
  await until(move, 'switched');
  const chain = Array.from({ length: 150 }, (_, n) => ({ id: `b${1_000 - n}`, parent: n === 0 ? null : `b${1_001 - n}` }));
  let sent = 0;
  const change = from.transaction.bind(from);
  from.transaction = (...args) => change(...args).finally(() => sent++);
  const followed = async (leaves: number) => {
    const ask = () => from.db.selectFrom('branches').select('id').where('parent', 'is not', null).execute();
    for (const end = Date.now() + 20_000; (await ask()).length !== leaves; await pause(10)) assert.ok(Date.now() < end, 'the old side does not follow');
    return sent;
  };
  await storage.transaction(async ({ db }) => {
    await db.insertInto('branches').values(chain).execute();
    await db.updateTable('branches').set({ parent: null }).where('id', '=', chain[0]!.id).execute();
  });
  await followed(149);
  await storage.transaction(async ({ db }) => {
    for (const { id } of [...chain].reverse()) await db.deleteFrom('branches').where('id', '=', id).execute();
  });
  assert.ok((await followed(0)) < 20, `${sent} transactions`);
  await storage.transaction(async ({ db }) => {
    await db.insertInto('branches').values([...chain].reverse().map(({ id }) => ({ id, parent: null }))).execute();
    for (const { id, parent } of chain) await db.updateTable('branches').set({ parent }).where('id', '=', id).execute();
  });
  assert.ok((await followed(149)) < 1_000, `${sent} transactions`);
  await move.back();
  const { to } = reopened();
  await to.start();
  assert.ok((await compareContents(from, to, () => {})).every(({ isSame }) => isSame));
});

test('an old storage is let go even where the new one cannot be told to record no more', { timeout: 60_000 }, async (t) => {
  const { storage, from, to, move, noted } = await moving(t, 'sqlite', 'postgres');
  storage.accompany(move);
  void move.begin();
  await until(move, 'switched');
  to.contents.stopRecording = async () => {
    throw new Error('the network failed, for a test');
  };
  await move.finish();
  assert.deepEqual([noted, move.progress.state], [['begin', 'switched', 'finish'], 'finished']);
  await rejectsWith('unavailable', from.transaction(async () => {}), 'stopped');
  await storage.transaction((tx) => tx.db.insertInto('keyless').values({ body: 'goes on' }).execute());
});

test('a new storage with tables of somebody else is refused before anything is noted or made there', { timeout: 60_000 }, async (t) => {
  const { storage, to, move, noted, reopened } = await moving(t, 'sqlite', 'postgres');
  await to.start();
  await to.transaction((tx) => tx.db.schema.createTable('invoices').addColumn('id', 'text').execute());
  storage.accompany(move);
  assert.equal(await move.begin(), false);
  assert.match(move.progress.problem!, /holds something already: .*\. Name an empty one/);
  assert.deepEqual(noted, []);
  const again = reopened().to;
  await again.start();
  const left = await again.snapshot();
  assert.deepEqual(left.tables.map(({ name }) => name), ['invoices']);
  await left.close();
});

test('of more transactions than may wait while they are held back the last is refused, and the others are done', { timeout: 60_000 }, async (t) => {
  const { storage } = await moving(t, 'sqlite', 'sqlite');
  const released = Promise.withResolvers<void>();
  const held = storage.hold(() => released.promise.then(() => storage.side));
  const done = Array.from({ length: 10_000 }, () => storage.transaction(async () => 1));
  await rejectsWith('exhausted', storage.transaction(async () => 1), 'transactions_waiting');
  released.resolve();
  await held;
  assert.equal((await Promise.all(done)).length, 10_000);
});

test('a row that differs on the new side stops the move, and work goes on with the old one', { timeout: 60_000 }, async (t) => {
  const { storage, from, to, move, noted } = await moving(t, 'sqlite', 'postgres');
  await storage.transaction((tx) => tx.db.insertInto('z_parents').values(Array.from({ length: 2_000 }, (_, n) => ({ workspace: 'w', n, name: 'Ana' }))).execute());
  const planted = to.transaction.bind(to);
  let isPlanted = false;
  // Somebody else writes to the new side while it is being filled.
  to.transaction = async (work, options) => {
    const result = await planted(work, options);
    if (!isPlanted && move.progress.rows >= 500) {
      isPlanted = true;
      await planted((tx) => tx.db.updateTable('z_parents').set({ name: 'Ben' }).where('n', '=', 3).execute());
    }
    return result;
  };
  storage.accompany(move);
  void move.begin();
  while (move.progress.state !== 'failed') await pause(10);
  assert.match(move.progress.problem!, /differ in z_parents/);
  assert.deepEqual(move.progress.compared.find(({ isSame }) => !isSame)!.differences.map(({ what }) => what), ['differs']);
  assert.deepEqual([noted, storage.side === from], [['begin'], true]);
  await storage.transaction((tx) => tx.db.deleteFrom('z_parents').where('n', '=', 3).execute());
});

for (const alsoTheOldLine of [false, true]) {
  test(`a switch that cannot be written down has not happened${alsoTheOldLine ? ', and when nobody knows, nobody writes' : ''}`, { timeout: 60_000 }, async (t) => {
    const { storage, from, move } = await moving(t, 'sqlite', 'postgres', (what) => what === 'switched' || (alsoTheOldLine && move.progress.state === 'comparing'));
    storage.accompany(move);
    void move.begin();
    while (move.progress.state !== 'failed') await pause(10);
    assert.equal(storage.side, from);
    const written = storage.transaction((tx) => tx.db.insertInto('keyless').values({ body: 'goes on' }).execute());
    if (alsoTheOldLine) await rejectsWith('unavailable', written, 'move_undecided');
    else await written;
  });
}

test('a new storage that hangs while everybody is held back holds nobody up for long, and the move goes on when it is back', { timeout: 60_000 }, async (t) => {
  const proxy = await TcpProxy.start(server.port);
  t.after(() => proxy.stop());
  const { storage, to, move } = await moving(t, 'sqlite', 'postgres', () => false, { port: proxy.port });
  await storage.transaction((tx) => tx.db.insertInto('z_parents').values({ workspace: 'w', n: 1, name: 'Ana' }).execute());
  const look = to.snapshot.bind(to);
  let hasHung = false;
  to.snapshot = () => {
    if (move.progress.state === 'comparing' && !hasHung) {
      hasHung = true;
      proxy.freeze();
      setTimeout(() => proxy.thaw(), 3_000);
    }
    return look();
  };
  storage.accompany(move);
  void move.begin();
  let slowestMs = 0;
  for (let n = 0; move.progress.state !== 'switched'; n++) {
    const began = performance.now();
    await storage.transaction((tx) => tx.db.insertInto('z_parents').values({ workspace: 'x', n, name: 'Ana' }).execute());
    slowestMs = Math.max(slowestMs, performance.now() - began);
    assert.notEqual(move.progress.state, 'failed', move.progress.problem ?? '');
    await pause(5);
  }
  t.diagnostic(`slowest transaction ${Math.round(slowestMs)} ms`);
  assert.ok(hasHung && slowestMs < 2_000, `a transaction took ${Math.round(slowestMs)} ms`);
});

test('an old storage that hangs while it follows does not hold up a stop', { timeout: 60_000 }, async (t) => {
  const proxy = await TcpProxy.start(server.port);
  t.after(() => proxy.stop());
  const { storage, from, move } = await moving(t, 'postgres', 'sqlite', () => false, { port: proxy.port });
  storage.accompany(move);
  void move.begin();
  await until(move, 'switched');
  const carried = Promise.withResolvers<void>();
  const change = from.transaction.bind(from);
  from.transaction = (work, options) => {
    proxy.freeze();
    carried.resolve();
    return change(work, options);
  };
  await storage.transaction((tx) => tx.db.insertInto('z_parents').values({ workspace: 'w', n: 1, name: 'Ana' }).execute());
  await carried.promise;
  const began = performance.now();
  await storage.stop(500);
  const ms = performance.now() - began;
  proxy.thaw();
  assert.ok(ms < 4_000, `${ms} ms`);
});
