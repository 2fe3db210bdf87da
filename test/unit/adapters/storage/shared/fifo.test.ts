import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fifo } from '../../../../../adapters/storage/shared/fifo.ts';

test('behaves as an array with push and shift', () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.integer(), { nil: 'take' as const })), (steps) => {
      const fifo = new Fifo<number>();
      const model: number[] = [];
      for (const step of steps) {
        if (step === 'take') assert.equal(fifo.take(), model.shift());
        else fifo.push(step), model.push(step);
        assert.equal(fifo.length, model.length);
      }
    }),
  );
});

test('lets go of what has been taken, though it is never empty', () => {
  const fifo = new Fifo<Uint8Array>();
  const held = () => process.memoryUsage().arrayBuffers;
  fifo.push(new Uint8Array(100_000));
  const before = held();
  let most = 0;
  for (let i = 0; i < 10_000; i++) {
    fifo.push(new Uint8Array(100_000));
    fifo.take();
    most = Math.max(most, held());
  }
  // A thousand megabytes went through.
  assert.ok(most - before < 500 * 1_048_576, `${most - before} bytes`);
});
