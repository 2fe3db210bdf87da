import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BootProblem } from '../../../../src/app/host/boot-problem.ts';
import { errorOf, startProblemOf } from '../../../../src/app/thread/start-problem.ts';
import { Fault, toFault } from '../../../../src/kernel/fault.ts';

const acrossThreads = (error: unknown): Error => errorOf(structuredClone(startProblemOf(error)));

test('why a module could not start comes across with its kind, its words and where it was thrown', () => {
  const defect = new RangeError('out of range');
  assert.deepEqual([acrossThreads(defect).message, acrossThreads(defect).stack], [defect.message, defect.stack]);
  assert.equal(acrossThreads('no error at all').message, 'no error at all');
  const boot = acrossThreads(new BootProblem('The boiler has a hole.', 'Weld it.'));
  assert.deepEqual([boot instanceof BootProblem && boot.remedy, boot.cause], ['Weld it.', undefined]);
  const fault = acrossThreads(new Fault('unavailable', 'There is no coal.', { reason: 'no_coal' }));
  assert.deepEqual([Fault.is(fault) && fault.reason, fault.cause], ['no_coal', undefined]);
});

test('what is behind it comes across too, for the log', () => {
  const defect = new RangeError('out of range');
  for (const error of [new BootProblem('The boiler has a hole.', 'Weld it.', defect), toFault(defect)]) {
    assert.equal((acrossThreads(error).cause as Error).stack, defect.stack);
  }
});
