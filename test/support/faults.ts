import assert from 'node:assert/strict';
import { Fault, type FaultCode, type FaultRecord } from '../../src/kernel/fault.ts';

/** Waits for a rejection with this code (and reason) and gives it back for a closer look. */
export async function rejectsWith(code: FaultCode, promise: Promise<unknown>, reason?: string): Promise<FaultRecord> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  assert.ok('error' in outcome, `expected a fault ${code}, got a value`);
  if (!Fault.is(outcome.error)) throw outcome.error;
  assert.equal(outcome.error.code, code, outcome.error.message);
  if (reason !== undefined) assert.equal(outcome.error.reason, reason);
  return outcome.error.toRecord();
}
