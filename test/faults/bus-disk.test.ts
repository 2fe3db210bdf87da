import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext as Test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bus } from '../../src/ports/bus.ts';
import { QUEUE, batchOf, openEffects, recording } from '../support/bus-ledger-child.ts';
import { LedgerChild, readEffects, readPending } from '../support/bus-ledger.ts';
import { Arrivals, createBus, isEmpty, messageTo, queueOf, sqliteAt, stateOf, untilQueue } from '../support/buses.ts';
import { testContext } from '../support/context.ts';
import { rejectsWith } from '../support/faults.ts';
import { type Breakage, flakyStorage } from '../support/flaky-storage.ts';
import { seeded } from '../support/seed.ts';

function place(t: Test, dataDir?: string) {
  const context = testContext(dataDir === undefined ? {} : { dataDir });
  t.after(() => context.remove());
  return context;
}

function keepAwake(t: Test, bus: Bus): void {
  const awake = setInterval(() => {}, 1_000);
  t.after(async () => {
    await bus.stop(1_000);
    clearInterval(awake);
  });
}

test('transactions that fail before, instead of, or after their commit lose nothing, double nothing, and leave the counters right', async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const context = place(t);
  const breakages: Breakage[] = ['unsent', 'rolled back', 'committed all the same'];
  let broken = 0;
  let calm = true;
  const breaks = (): Breakage => (calm || random.whole(2) > 0 ? undefined : breakages[broken++ % 3]);
  const bus = createBus('embedded', context, {}, (name) => flakyStorage(sqliteAt(context)(name), breaks));
  keepAwake(t, bus);
  await bus.start();
  await bus.declare(QUEUE);
  const effects = await openEffects(context.dataDir);
  t.after(() => effects.stop(1_000));
  for (const concurrency of [5, 20]) await bus.consume('q', { concurrency }, recording(effects, random));
  calm = false;
  const accepted: string[] = [];
  await Promise.all(
    Array.from({ length: 8 }, async (_, publisher) => {
      for (let n = 0; n < 300; ) {
        const batch = batchOf('f', publisher, n, random);
        n += batch.length;
        while (!(await bus.publish(batch).then(() => true, (error: { code: string }) => assert.equal(error.code, 'unavailable')))) await sleep(1);
        accepted.push(...batch.map((message) => message.id));
      }
    }),
  );
  calm = true;
  await untilQueue(bus, 'q', isEmpty);
  assert.equal((await readPending(bus, 'q')).size, 0);
  await bus.stop(5_000);
  await effects.stop(5_000);
  const done = await readEffects(context.dataDir);
  assert.deepEqual(accepted.filter((id) => !done.has(id)), []);
  assert.ok(broken > 10, `${broken} transactions failed`);
});

test('a failing fsync is told to the publishers concerned; consumers go on by themselves', async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const context = place(t);
  const under = ['strace', '-f', '--seccomp-bpf', '-o', '/dev/null', '-P', join(context.dataDir, 'bus.sqlite-wal'), '-e', `inject=fsync,fdatasync:error=EIO:when=${8 + random.whole(10)}+${8 + random.whole(10)}`];
  const child = new LedgerChild({ driver: 'embedded', dataDir: context.dataDir, run: 'f', publishers: 4, each: 200 }, random.whole(2 ** 31), under);
  t.after(() => child.kill());
  await child.ended;
  assert.ok(child.failures.length > 0, child.errors);
  assert.deepEqual([...new Set(child.failures)], ['unavailable']);
  assert.ok(child.accepted.size >= 800);
  const done = await readEffects(context.dataDir);
  assert.deepEqual([...child.accepted].filter((id) => !done.has(id)), []);
});

test('a full disk refuses with `exhausted` and a time to come again; what was under way is finished when there is room', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'multilith-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', dataDir]);
  t.after(() => {
    execFileSync('umount', ['--lazy', dataDir]);
    rmSync(dataDir, { recursive: true });
  });
  const bus = createBus('embedded', testContext({ dataDir }), { minFreeBytes: 0 });
  keepAwake(t, bus);
  await bus.start();
  await bus.declare(queueOf('q'));
  const gate = Promise.withResolvers<void>();
  const arrivals = new Arrivals(async () => {
    await gate.promise;
    return { kind: 'done' };
  });
  await bus.consume('q', { concurrency: 5 }, arrivals.handler);
  let accepted = 0;
  const payload = JSON.stringify('x'.repeat(20_000));
  const full = await (async () => {
    for (;;) {
      try {
        await bus.publish([messageTo('q', { payload })]);
        accepted++;
      } catch (error) {
        return error;
      }
    }
  })();
  const fault = await rejectsWith('exhausted', Promise.reject(full), 'disk_full');
  assert.ok(Number(fault.details.retryAfterMs) > 0 && accepted > 10);
  const ballast = join(dataDir, 'ballast');
  try {
    writeFileSync(ballast, Buffer.alloc(8 * 1_048_576));
  } catch {
    // The disk is full to the last page now.
  }
  gate.resolve();
  await sleep(300);
  assert.ok((await stateOf(bus, 'q')).ready.normal > 0, 'the disk was not full');
  rmSync(ballast);
  execFileSync('mount', ['-o', 'remount,size=64m', dataDir]);
  await untilQueue(bus, 'q', isEmpty);
  assert.equal(new Set(arrivals.ids).size, accepted);
  await bus.publish([messageTo('q', { payload })]);
  await arrivals.count(accepted + 1);
});

test('publishing leaves the space free that finishing needs', async (t) => {
  const context = place(t);
  const bus = createBus('embedded', context, { minFreeBytes: Number.MAX_SAFE_INTEGER });
  keepAwake(t, bus);
  await bus.start();
  await bus.declare(queueOf('q'));
  const fault = await rejectsWith('exhausted', bus.publish([messageTo('q')]), 'disk_full');
  assert.ok(Number(fault.details.retryAfterMs) > 0);
});
