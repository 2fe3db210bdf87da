import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault, mayRetry, toFault } from '../../../src/kernel/fault.ts';

describe('a fault', () => {
  it('survives the trip through its record, and its inside stays at home', () => {
    const fault = new Fault('conflict', 'Taken.', { reason: 'email_taken', details: { field: 'email' }, origin: 'lost', cause: new Error('secret') });
    const back = Fault.fromRecord(JSON.parse(JSON.stringify(fault.toRecord())));
    assert.deepEqual(back.toRecord(), fault.toRecord());
    assert.equal(back.cause, undefined);
    assert.doesNotMatch(JSON.stringify(fault.toRecord()), /secret/);
  });

  it('says on its trip, and in copies, that it is spent', () => {
    const spent = new Fault('unavailable', 'Away.', { reason: 'resting', origin: 'unsent', spent: true });
    const back = Fault.fromRecord(JSON.parse(JSON.stringify(spent.toRecord())));
    assert.deepEqual(back.with({ origin: 'reply' }).toRecord(), { ...spent.toRecord(), origin: 'reply' });
    assert.equal(back.spent, true);
    assert.equal('spent' in back.with({ spent: false }).toRecord(), false);
  });

  it('is what any other thrown value becomes, with a neutral message', () => {
    for (const thrown of [new TypeError('inside'), 'text', undefined, { code: 'conflict' }]) {
      const fault = toFault(thrown);
      assert.equal(fault.code, 'internal');
      assert.doesNotMatch(fault.message, /inside/);
      assert.equal(fault.cause, thrown);
    }
  });

  it('may be retried: unsent always, lost and an answer that is unavailable when repeatable, other answers never', () => {
    const made = (origin: 'reply' | 'unsent' | 'lost', code: 'unavailable' | 'internal' | 'deadline') => new Fault(code, '', { origin });
    assert.deepEqual(
      [mayRetry(made('unsent', 'deadline'), false), mayRetry(made('lost', 'deadline'), true), mayRetry(made('lost', 'deadline'), false), mayRetry(made('reply', 'unavailable'), true), mayRetry(made('reply', 'unavailable'), false), mayRetry(made('reply', 'internal'), true)],
      [true, true, false, true, false, false],
    );
  });
});
