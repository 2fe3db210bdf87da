import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BootProblem } from '../../../../src/app/host/boot-problem.ts';
import { AGAIN, BROKEN, TroubledHost } from '../../../support/troubled-host.ts';

test('what a module throws while it is made stops the host with the same words and remedy as on the main thread', { timeout: 120_000 }, async () => {
  const it = new TroubledHost('modules.troubled.start=unmade');
  const error = await it.host.start().catch((thrown: unknown) => thrown);
  assert.ok(error instanceof BootProblem, String(error));
  assert.deepEqual([error.message, error.remedy], ['The boiler has a hole.', 'Weld it.']);
});

test('a stop while a module starts that never will ends its thread', { timeout: 120_000 }, async () => {
  const it = new TroubledHost('modules.troubled.start=hangs');
  const starting = assert.rejects(it.host.start());
  await it.until(() => it.line('hanging') !== undefined);
  const began = performance.now();
  await it.host.stop(20_000);
  await starting;
  assert.ok(performance.now() - began < 10_000, `${performance.now() - began} ms`);
  assert.equal(it.line(BROKEN), undefined);
});

test('a stop while a module breaks its thread at its first connection, again and again, leaves none', { timeout: 120_000 }, async () => {
  const it = new TroubledHost('modules.troubled.start=breaks');
  const starting = assert.rejects(it.host.start());
  await it.until(() => it.lines.filter(({ message }) => message === BROKEN).length === 2);
  const began = performance.now();
  await it.host.stop(20_000);
  await starting;
  assert.ok(performance.now() - began < 10_000, `${performance.now() - began} ms`);
});

test('a module that cannot start again, and whose parts do not stop either, is tried again', { timeout: 120_000 }, async () => {
  const marker = join(TroubledHost.root, `cannot-${process.pid}`);
  const it = await TroubledHost.start('modules.troubled.start=fails-and-hangs', `modules.troubled.startFrom=${marker}`);
  writeFileSync(marker, '');
  await it.ask('trouble', { kind: 'exit' });
  await it.until(() => it.lines.filter(({ message }) => message === BROKEN).length === 2);
  assert.equal(it.line(AGAIN), undefined);
  const errors = it.lines.filter(({ level }) => level === 'error');
  assert.deepEqual(errors.map(({ message, reason, err }) => [message, reason, (err as Error | undefined)?.message]), [[BROKEN, 'it ended by itself (exit code 3)', undefined], [BROKEN, 'it could not start', 'There is no coal.']], 'each end is said once, with why');
});

test('where the system gives no thread, it is asked again later, and the others work on', { timeout: 120_000 }, async () => {
  const it = await TroubledHost.start();
  const { href } = it.entry;
  // Worker refuses what is no file.
  it.entry.href = 'http://127.0.0.1/';
  await it.ask('trouble', { kind: 'exit' });
  await it.pagesUntil(async () => it.lines.some(({ message, reason }) => message === BROKEN && reason === 'no thread could be made'));
  it.entry.href = href;
  await it.answersAgain();
});

for (const via of ['inline', 'thread']) {
  test(`a message whose handler never ends is let go of in time by a stop, via ${via}`, { timeout: 120_000 }, async () => {
    const it = await TroubledHost.start('modules.troubled.handlesForEver=true', `calls.troubled.via=${via}`);
    await it.get('publish?1');
    await it.until(() => it.line('handling') !== undefined);
    const began = performance.now();
    await it.host.stop(4_000);
    assert.ok(performance.now() - began < 5_000, `${performance.now() - began} ms`);
  });
}

test('a thread that breaks while it stops has not stopped in order', { timeout: 120_000 }, async () => {
  const it = await TroubledHost.start('modules.troubled.stop=breaks');
  await assert.rejects(it.host.stop(5_000), /exit code 5/);
});

test('a stop does not wait beyond its deadline for a thread that cannot be interrupted', { timeout: 120_000 }, async () => {
  const it = await TroubledHost.start();
  await it.ask('trouble', { kind: 'native' });
  await new Promise((resolve) => setTimeout(resolve, 100));
  const began = performance.now();
  await assert.rejects(it.host.stop(2_000), /did not stop in time, and cannot be interrupted/);
  assert.ok(performance.now() - began < 6_000, `${performance.now() - began} ms`);
});
