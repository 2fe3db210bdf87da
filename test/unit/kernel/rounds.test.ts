import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rounds } from '../../../src/kernel/rounds.ts';
import { FakeClock } from '../../support/fake-clock.ts';

test('rounds come one at a time, also after one that failed, until a stop, which waits for the one under way', async () => {
  const clock = new FakeClock();
  const failures: unknown[] = [];
  const begun: { readonly goesOn: () => boolean; end(): void; fail(problem: unknown): void }[] = [];
  const rounds = new Rounds({
    clock,
    everyMs: 1_000,
    round: (goesOn) => new Promise((end, fail) => begun.push({ goesOn, end, fail })),
    failed: (problem) => void failures.push(problem),
  });
  await rounds.start();
  await clock.advance(999);
  assert.equal(begun.length, 0);
  await clock.advance(1);
  await clock.advance(5_000);
  assert.equal(begun.length, 1, 'none begins while one is under way');
  begun[0]!.fail('broken');
  await clock.advance(0);
  await clock.advance(1_000);
  assert.deepEqual([begun.length, failures, begun[1]!.goesOn()], [2, ['broken'], true]);
  let isStopped = false;
  const stopped = rounds.stop(1_000).then(() => (isStopped = true));
  await clock.advance(0);
  assert.deepEqual([isStopped, begun[1]!.goesOn()], [false, false]);
  begun[1]!.end();
  await stopped;
  await clock.advance(5_000);
  assert.equal(begun.length, 2);
});
