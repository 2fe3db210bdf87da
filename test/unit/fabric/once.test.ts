import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { type TestContext as Test, test } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { InboxPruner } from '../../../src/fabric/inbox.ts';
import { silentLog, testContext } from '../../support/context.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { flakyStorage } from '../../support/flaky-storage.ts';
import { guardedPurse, openPurse, type OpenPurse, purseCall } from '../../support/purse.ts';

const PAYMENT = { amount: 5 };

async function opened(t: Test): Promise<OpenPurse & { dataDir: string }> {
  const context = testContext();
  const open = await openPurse(context.dataDir);
  t.after(async () => {
    await open.storage.stop(1_000);
    context.remove();
  });
  return { ...open, dataDir: context.dataDir };
}

async function faultOf(answer: Promise<unknown>): Promise<string> {
  return answer.then(
    (value) => `answered ${JSON.stringify(value)}`,
    (thrown: unknown) => (Fault.is(thrown) ? `${thrown.code}/${thrown.reason}` : String(thrown)),
  );
}

async function noted(storage: Storage<any>): Promise<{ key: string; answer: string | null; time: number }[]> {
  return storage.db.selectFrom('fabric_calls').select(['key', 'answer', 'time']).orderBy('key').execute() as Promise<{ key: string; answer: string | null; time: number }[]>;
}

test('a command that comes twice at once has one effect, and both get its answer', async (t) => {
  const { purse, service } = await opened(t);
  const answers = await Promise.all([purse.pay(PAYMENT, purseCall('k')), purse.pay(PAYMENT, purseCall('k'))]);
  assert.deepEqual(answers, [{ payments: 1 }, { payments: 1 }]);
  assert.equal(service.runs, 1);
});

test('a command that comes again later gets the first answer, whatever has happened since', async (t) => {
  const { purse, service } = await opened(t);
  await purse.pay(PAYMENT, purseCall('k'));
  await purse.pay(PAYMENT, purseCall('other'));
  assert.deepEqual(await purse.pay(PAYMENT, purseCall('k')), { payments: 1 });
  assert.equal(service.runs, 2);
});

test('a command that comes again after a restart gets the first answer', async (t) => {
  const { purse, storage, dataDir } = await opened(t);
  await purse.pay(PAYMENT, purseCall('k'));
  await storage.stop(1_000);
  const again = await openPurse(dataDir);
  t.after(() => again.storage.stop(1_000));
  assert.deepEqual(await again.purse.pay(PAYMENT, purseCall('k')), { payments: 1 });
  assert.deepEqual([again.service.runs, (await again.service.count()).payments], [0, 1]);
});

test('a command whose process was killed between its commit and its answer is not run again', async (t) => {
  const context = testContext();
  t.after(() => context.remove());
  const child = spawn(process.execPath, [join(import.meta.dirname, '../../support/purse.js'), context.dataDir, 'k'], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  await Promise.race([once(child.stdout, 'data'), ended.then(() => assert.fail('the process ended before it paid'))]);
  child.kill('SIGKILL');
  await ended;
  const { purse, service, storage } = await openPurse(context.dataDir);
  t.after(() => storage.stop(1_000));
  for (let i = 0; i < 2; i++) assert.equal(await faultOf(purse.pay(PAYMENT, purseCall('k'))), 'conflict/repeated');
  assert.deepEqual([service.runs, (await service.count()).payments], [0, 1]);
});

test('of two processes that run the same command, the second to commit rolls back', async (t) => {
  const { purse, service, storage } = await opened(t);
  const other = guardedPurse(storage);
  const { promise, resolve } = Promise.withResolvers<void>();
  service.before = () => promise;
  const slow = faultOf(purse.pay(PAYMENT, purseCall('k')));
  while (service.runs === 0) await new Promise(setImmediate);
  assert.deepEqual(await other.purse.pay(PAYMENT, purseCall('k')), { payments: 1 });
  resolve();
  assert.equal(await slow, 'conflict/repeated');
  assert.equal((await service.count()).payments, 1);
});

test('a process that was slower stays refused when its first transaction failed for another reason', async (t) => {
  const { service, storage } = await opened(t);
  const other = guardedPurse(storage);
  let fails = true;
  const flaky = guardedPurse(flakyStorage(storage, () => (fails ? 'rolled back' : undefined)));
  flaky.service.before = async () => {
    await assert.rejects(flaky.service.add(1));
    fails = false;
    await other.purse.pay(PAYMENT, purseCall('k'));
  };
  assert.equal(await faultOf(flaky.purse.pay(PAYMENT, purseCall('k'))), 'conflict/repeated');
  assert.equal((await service.count()).payments, 1);
});

test('a key that was used for another request is refused, under way or later', async (t) => {
  const { purse, service } = await opened(t);
  const first = purse.pay(PAYMENT, purseCall('k'));
  assert.equal(await faultOf(purse.pay({ amount: 6 }, purseCall('k'))), 'invalid/idempotency_key_reused');
  await first;
  assert.equal(await faultOf(purse.pay({ amount: 6 }, purseCall('k'))), 'invalid/idempotency_key_reused');
  assert.equal(service.runs, 1);
});

test('keys of different callers and workspaces do not meet', async (t) => {
  const { purse, service } = await opened(t);
  const calls = [purseCall('k'), purseCall('k', { workspace: 'w2' }), purseCall('k', { workspace: null }), purseCall('k', { actor: { kind: 'user', id: 'u2' } }), purseCall('k', { actor: { kind: 'api_key', id: 'u1' } })];
  for (const [at, call] of calls.entries()) assert.deepEqual(await purse.pay(PAYMENT, call), { payments: at + 1 });
  assert.equal(service.runs, calls.length);
});

test('a command that failed before it committed anything may be tried again', async (t) => {
  const { purse, service, storage } = await opened(t);
  service.before = async () => {
    throw new Fault('conflict', 'The purse is closed.', { reason: 'purse_closed' });
  };
  assert.equal(await faultOf(purse.pay(PAYMENT, purseCall('k'))), 'conflict/purse_closed');
  assert.deepEqual(await noted(storage), []);
  service.before = async () => {};
  assert.deepEqual(await purse.pay(PAYMENT, purseCall('k')), { payments: 1 });
});

test('a command that committed and then failed answers the same fault again', async (t) => {
  const { purse, service } = await opened(t);
  service.after = async () => {
    throw new Fault('conflict', 'The purse is closed.', { reason: 'purse_closed', details: { at: 3 } });
  };
  const first = await purse.pay(PAYMENT, purseCall('k')).catch((thrown: Fault) => thrown.toRecord());
  const second = await purse.pay(PAYMENT, purseCall('k')).catch((thrown: Fault) => thrown.toRecord());
  assert.deepEqual(second, first);
  assert.deepEqual([service.runs, (await service.count()).payments], [1, 1]);
});

test('what an unexpected exception said is not kept', async (t) => {
  const { purse, service, storage } = await opened(t);
  service.after = async () => {
    throw new TypeError('password=hunter2');
  };
  await assert.rejects(purse.pay(PAYMENT, purseCall('k')), /hunter2/);
  assert.equal(await faultOf(purse.pay(PAYMENT, purseCall('k'))), 'internal/internal');
  assert.doesNotMatch(JSON.stringify(await noted(storage)), /hunter2/);
});

test('that the first caller let go is no answer to who repeats the call', async (t) => {
  const { purse, service } = await opened(t);
  const stop = new AbortController();
  service.before = (call) => new Promise((resolve, reject) => (service.runs > 1 ? resolve() : call.signal.addEventListener('abort', () => reject(call.signal.reason as Error))));
  const first = faultOf(purse.pay(PAYMENT, purseCall('k', { signal: stop.signal })));
  while (service.runs === 0) await new Promise(setImmediate);
  const second = purse.pay(PAYMENT, purseCall('k'));
  stop.abort();
  assert.equal(await first, 'cancelled/cancelled');
  assert.deepEqual(await second, { payments: 1 });
});

test('a command that was let go after its commit is not run again', async (t) => {
  const { purse, service } = await opened(t);
  service.after = async () => {
    throw new Fault('cancelled', 'The caller is gone.', { origin: 'lost' });
  };
  assert.equal(await faultOf(purse.pay(PAYMENT, purseCall('k'))), 'cancelled/cancelled');
  assert.equal(await faultOf(purse.pay(PAYMENT, purseCall('k'))), 'conflict/repeated');
  assert.equal((await service.count()).payments, 1);
});

test('a command may run several transactions, one after the other and at once', async (t) => {
  const { purse, service } = await opened(t);
  service.before = async () => void (await Promise.all([service.add(1), service.add(2), service.add(3)]));
  service.after = () => service.add(4);
  assert.deepEqual(await purse.pay(PAYMENT, purseCall('k')), { payments: 5 });
  assert.deepEqual(await purse.pay(PAYMENT, purseCall('k')), { payments: 5 });
  assert.equal(service.runs, 1);
});

test('what a command sets off and does not wait for is work of its own', async (t) => {
  const { purse, service } = await opened(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  let later: Promise<void> | undefined;
  const failed = new Fault('conflict', 'The purse is closed.', { reason: 'purse_closed' });
  service.before = async () => {
    later = promise.then(() => service.add(1));
    throw failed;
  };
  await assert.rejects(purse.pay(PAYMENT, purseCall('k')), failed);
  service.before = async () => {};
  await purse.pay(PAYMENT, purseCall('k'));
  resolve();
  await later;
  assert.equal((await service.count()).payments, 2);
});

test('an answer that cannot be kept reaches the caller all the same, and a repeat has no second effect', async (t) => {
  const { storage, service } = await opened(t);
  let transactions = 0;
  const flaky = guardedPurse(flakyStorage(storage, () => (++transactions === 2 ? 'rolled back' : undefined)));
  assert.deepEqual(await flaky.purse.pay(PAYMENT, purseCall('k')), { payments: 1 });
  assert.equal(await faultOf(flaky.purse.pay(PAYMENT, purseCall('k'))), 'conflict/repeated');
  assert.equal((await service.count()).payments, 1);
});

test('a command whose commit was not confirmed is not run again when it took place', async (t) => {
  const { storage, service } = await opened(t);
  let transactions = 0;
  const flaky = guardedPurse(flakyStorage(storage, () => (++transactions === 1 ? 'committed all the same' : undefined)));
  assert.equal(await faultOf(flaky.purse.pay(PAYMENT, purseCall('k'))), 'unavailable/storage');
  assert.equal(await faultOf(flaky.purse.pay(PAYMENT, purseCall('k'))), 'conflict/repeated');
  assert.equal((await service.count()).payments, 1);
});

test('commands without a key, and queries, are not noted, and run as often as they come', async (t) => {
  const { purse, service, storage } = await opened(t);
  await purse.pay(PAYMENT, purseCall(undefined));
  assert.deepEqual(await purse.pay(PAYMENT, purseCall(undefined)), { payments: 2 });
  await purse.count({}, purseCall('k'));
  assert.equal(service.runs, 2);
  assert.deepEqual(await noted(storage), []);
});

test('keys are forgotten after a week, not before', async (t) => {
  const context = testContext();
  const clock = new FakeClock();
  const { purse, service, storage } = await openPurse(context.dataDir, clock);
  const pruner = new InboxPruner(storage as unknown as ConstructorParameters<typeof InboxPruner>[0], clock, silentLog);
  t.after(async () => {
    await pruner.stop(1_000);
    await storage.stop(1_000);
    context.remove();
  });
  await purse.pay(PAYMENT, purseCall('old'));
  await clock.advance(2 * 86_400_000);
  await purse.pay(PAYMENT, purseCall('young'));
  await clock.advance(5 * 86_400_000 + 1);
  await pruner.start();
  await clock.advance(600_000);
  for (let turn = 0; turn < 1_000 && (await noted(storage)).length > 1; turn++) await new Promise(setImmediate);
  assert.deepEqual((await noted(storage)).map(({ key }) => key), ['young']);
  await purse.pay(PAYMENT, purseCall('young'));
  assert.equal(service.runs, 2);
  await pruner.stop(1_000);
  assert.equal(clock.pending, 0);
});
