import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext as Test } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { testContext } from '../support/context.ts';
import { rejectsWith } from '../support/faults.ts';
import { readLedger, Writer } from '../support/ledger.ts';
import { seeded } from '../support/seed.ts';
import { openLedger } from '../support/storage-writer.ts';
import { tmpfs } from '../support/tmpfs.ts';

const ROUNDS = isLong ? 40 : 1;

/** strace in front of the writer, failing system calls on one file of the ledger. */
function failing(dataDir: string, file: string, ...injections: string[]): string[] {
  return ['strace', '-f', '--seccomp-bpf', '-o', '/dev/null', '-P', join(dataDir, file), ...injections.flatMap((injection) => ['-e', `inject=${injection}`])];
}

function place(t: Test): string {
  const context = testContext();
  t.after(() => context.remove());
  return context.dataDir;
}

/** All that was acknowledged is there; of what was refused for sure, nothing is. */
async function check(dataDir: string, writer: Writer): Promise<void> {
  const found = await readLedger(dataDir);
  assert.deepEqual(found.lost(writer.acknowledged), []);
  const refused = [...writer.failed].filter(([, fault]) => !fault.endsWith('lost'));
  assert.deepEqual(refused.filter(([id]) => found.ids.has(id)), []);
}

test('a failing fsync of the log is told to all of its group and the storage goes on', async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  for (let round = 0; round < ROUNDS; round++) {
    const dataDir = place(t);
    const under = failing(dataDir, 'ledger.sqlite-wal', `fdatasync:error=EIO:when=${5 + random.whole(10)}+${3 + random.whole(10)}`);
    const writer = new Writer({ dataDir, prefix: 'w', inFlight: 20, transactions: 2_000, under });
    t.after(() => writer.kill());
    await writer.ended;
    assert.equal(writer.acknowledged.size + writer.failed.size, 2_000);
    assert.ok(writer.failed.size >= 20 && writer.acknowledged.size > 500, `${writer.failed.size} failed, ${writer.acknowledged.size} acknowledged`);
    assert.deepEqual([...new Set(writer.failed.values())], ['unavailable lost']);
    // What the disk did not confirm is in the database all the same once the storage has brought it there.
    await check(dataDir, writer);
  }
});

test('after a failing fsync nothing is acknowledged before the log has begun anew', async (t) => {
  const dataDir = place(t);
  const calls = join(dataDir, 'calls');
  const under = ['strace', '-f', '--seccomp-bpf', '-o', calls, '-P', join(dataDir, 'ledger.sqlite-wal'), '-e', 'trace=fdatasync,ftruncate', '-e', 'inject=fdatasync:error=EIO:when=5+10'];
  const writer = new Writer({ dataDir, prefix: 'w', inFlight: 20, transactions: 2_000, under });
  t.after(() => writer.kill());
  await writer.ended;
  const order = readFileSync(calls, 'utf8').split('\n').flatMap((line) => (/fdatasync.*INJECTED/.test(line) ? ['failed'] : /fdatasync.* = 0/.test(line) ? ['synced'] : /ftruncate\(\d+, 0\)/.test(line) ? ['emptied'] : []));
  assert.ok(order.includes('failed') && order.includes('synced') && order.includes('emptied'));
  // A failure of the writer's very last group has nothing behind it that could be acknowledged too early.
  order.slice(0, -1).forEach((call, i) => call === 'failed' && assert.equal(order[i + 1], 'emptied', order.slice(i, i + 3).join(' ')));
  await check(dataDir, writer);
});

test('a disk that fails for good acknowledges nothing more', async (t) => {
  const dataDir = place(t);
  await openLedger(dataDir).then((storage) => storage.stop(1_000));
  // Counted per thread: the first of each passes, so that the writer can start.
  const under = [...failing(dataDir, 'ledger.sqlite-wal', 'fdatasync:error=EIO:when=2+', 'fsync:error=EIO:when=3+'), '-P', join(dataDir, 'ledger.sqlite')];
  const writer = new Writer({ dataDir, prefix: 'w', inFlight: 20, transactions: 2_000, under });
  t.after(() => writer.kill());
  await writer.ended;
  assert.equal(writer.acknowledged.size + writer.failed.size, 2_000);
  assert.ok(writer.failed.size > 1_000, `${writer.failed.size} failed`);
  // The first to meet it cannot be told what became of them; those after it surely did not run, to the last.
  assert.deepEqual([...new Set(writer.failed.values())].sort(), ['unavailable lost', 'unavailable unsent']);
  assert.equal(writer.failed.get('w-1999'), 'unavailable unsent');
  await check(dataDir, writer);
});

for (const [error, expected] of [
  ['ENOSPC', 'exhausted reply'],
  ['EIO', 'unavailable lost'],
] as const) {
  test(`writes to the log that fail with ${error} now and then`, async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    for (let round = 0; round < ROUNDS; round++) {
      const dataDir = place(t);
      const under = failing(dataDir, 'ledger.sqlite-wal', `pwrite64:error=${error}:when=${40 + random.whole(20)}+${30 + random.whole(100)}`);
      const writer = new Writer({ dataDir, prefix: 'w', inFlight: 20, transactions: 2_000, under });
      t.after(() => writer.kill());
      await writer.ended;
      assert.equal(writer.acknowledged.size + writer.failed.size, 2_000);
      assert.ok(writer.failed.size > 0 && writer.acknowledged.size > 500, `${writer.failed.size} failed, ${writer.acknowledged.size} acknowledged`);
      assert.deepEqual([...new Set(writer.failed.values())], [expected]);
      await check(dataDir, writer);
    }
  });
}

test('checkpoints that fail cost nothing acknowledged', async (t) => {
  const dataDir = place(t);
  const under = failing(dataDir, 'ledger.sqlite', 'pwrite64:error=EIO:when=20+9', 'fsync:error=EIO:when=4+3');
  const writer = new Writer({ dataDir, prefix: 'w', inFlight: 50, transactions: 5_000, settings: { checkpointKb: 64 }, under });
  t.after(() => writer.kill());
  await writer.ended;
  assert.equal(writer.acknowledged.size, 5_000, JSON.stringify([...writer.failed].slice(0, 3)));
  assert.ok(writer.warnings > 0, 'no checkpoint failed');
  await check(dataDir, writer);
});

test('killed in the middle of an fsync', async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  for (let round = 0; round < 3 * ROUNDS; round++) {
    const dataDir = place(t);
    const writer = new Writer({ dataDir, prefix: 'w', inFlight: 20, under: failing(dataDir, 'ledger.sqlite-wal', `fdatasync:signal=KILL:when=${5 + random.whole(40)}`) });
    t.after(() => writer.kill());
    await writer.ended;
    await check(dataDir, writer);
  }
});

test('a full disk refuses with `exhausted`, keeps what it acknowledged, and goes on when there is room', async (t) => {
  const dataDir = tmpfs(t, '4m');
  const ballast = join(dataDir, 'ballast');
  writeFileSync(ballast, Buffer.alloc(2 * 1_048_576));
  const storage = await openLedger(dataDir);
  t.after(() => storage.stop(1_000));
  const write = (id: string) => storage.transaction((tx) => tx.db.insertInto('entries').values({ id, payload: 'x'.repeat(2_000) }).execute());
  const acknowledged: string[] = [];
  const refusals: string[] = [];
  for (let i = 0; refusals.length < 50; i++) {
    const ids = Array.from({ length: 10 }, (_, k) => `${i}-${k}`);
    const outcomes = await Promise.allSettled(ids.map(write));
    outcomes.forEach((outcome, k) => (outcome.status === 'fulfilled' ? acknowledged.push(ids[k]!) : refusals.push(`${outcome.reason.code} ${outcome.reason.reason}`)));
  }
  assert.deepEqual([...new Set(refusals)], ['exhausted disk_full']);
  assert.ok(acknowledged.length > 100);
  const ids = async () => (await storage.db.selectFrom('entries').select('id').execute()).map((row) => row.id).sort();
  assert.deepEqual(await ids(), acknowledged.toSorted());
  rmSync(ballast);
  await write('after');
  assert.deepEqual(await ids(), [...acknowledged, 'after'].sort());
});

test('a read-only data directory is refused at the start with a remedy, empty or not', async (t) => {
  for (const filled of [false, true]) {
    const dataDir = tmpfs(t, '4m');
    if (filled) await openLedger(dataDir).then((storage) => storage.stop(1_000));
    execFileSync('mount', ['-o', 'remount,ro', dataDir]);
    const fault = await rejectsWith('unavailable', openLedger(dataDir));
    assert.equal(typeof fault.details.remedy, 'string');
  }
});

test('a disk that turns read-only while running is `unavailable`, and what was acknowledged stays', async (t) => {
  const dataDir = place(t);
  const writer = new Writer({ dataDir, prefix: 'w', inFlight: 20, transactions: 1_000, under: failing(dataDir, 'ledger.sqlite-wal', 'pwrite64:error=EROFS:when=100+') });
  t.after(() => writer.kill());
  await writer.ended;
  assert.deepEqual([...new Set([...writer.failed.values()].map((fault) => fault.split(' ')[0]))], ['unavailable']);
  await check(dataDir, writer);
});

test('something else in the place of the database is refused with a remedy and left as it is', async (t) => {
  const dataDir = place(t);
  const path = join(dataDir, 'ledger.sqlite');
  writeFileSync(path, 'this is not a database, but somebody may want to read it '.repeat(100));
  const fault = await rejectsWith('unavailable', openLedger(dataDir));
  assert.equal(typeof fault.details.remedy, 'string');
  assert.match(execFileSync('head', ['-c', '40', path], { encoding: 'utf8' }), /^this is not a database/);
});

test('a data directory that is not there is refused with a remedy', async (t) => {
  const dataDir = join(place(t), 'missing');
  const fault = await rejectsWith('unavailable', openLedger(dataDir));
  assert.equal(typeof fault.details.remedy, 'string');
});

test('a clean stop leaves one file per database and the empty lock', async (t) => {
  const dataDir = place(t);
  await openLedger(dataDir).then((storage) => storage.stop(1_000));
  assert.deepEqual(readdirSync(dataDir).sort(), ['ledger.sqlite', 'ledger.sqlite-lock']);
});
