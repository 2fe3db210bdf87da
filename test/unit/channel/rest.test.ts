import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Rest } from '../../../adapters/channel/smtp/rest.ts';

const PROBE_MS = 1_000;

function restWith(failures: number): Rest {
  const rest = new Rest(100, 800, () => 0.5);
  for (let i = 0; i < failures; i++) rest.failed(0);
  return rest;
}

describe('resting', () => {
  it('begins with the third failure in a row', () => {
    assert.equal(restWith(2).enter(0, PROBE_MS), null);
    assert.equal(restWith(3).enter(0, PROBE_MS), 100);
    const interrupted = restWith(2);
    interrupted.succeeded();
    interrupted.failed(0);
    assert.equal(interrupted.enter(0, PROBE_MS), null);
  });

  it('is not made longer by what was under way when it began', () => {
    assert.equal(restWith(50).pausedUntil(0), 100);
  });

  it('ends with one probe, whose failure doubles it up to the limit, and whose success ends it', () => {
    const rest = restWith(3);
    let now = 100;
    for (const expected of [200, 400, 800, 800]) {
      assert.equal(rest.enter(now, PROBE_MS), null, 'the probe may go');
      assert.ok(rest.enter(now, PROBE_MS)! > now, 'nobody else');
      assert.equal(rest.failed(now), true);
      assert.equal(rest.pausedUntil(now), now + expected);
      now += expected;
    }
    assert.equal(rest.enter(now, PROBE_MS), null);
    rest.succeeded();
    assert.equal(rest.pausedUntil(now), null);
    assert.equal(rest.enter(now, PROBE_MS), null);
    assert.equal(rest.enter(now, PROBE_MS), null, 'all may go');
  });

  it('lets another probe go when the first never comes back', () => {
    const rest = restWith(3);
    assert.equal(rest.enter(100, PROBE_MS), null);
    assert.ok(rest.enter(1_099, PROBE_MS)! > 1_099);
    assert.equal(rest.enter(1_100, PROBE_MS), null);
  });
});
