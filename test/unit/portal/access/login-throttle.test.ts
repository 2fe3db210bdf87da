import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoginThrottle, networkOf } from '../../../../modules/portal/access/login-throttle.ts';

const limits = { free: 3, firstWaitMs: 1_000, longestWaitMs: 8_000, forgetMs: 60_000 };

test('a few failures are free, then each doubles the wait up to the longest', () => {
  const throttle = new LoginThrottle(limits);
  const waits: number[] = [];
  for (let i = 0; i < 8; i++) {
    throttle.count('a', 0);
    waits.push(throttle.waitMs('a', 0));
  }
  assert.deepEqual(waits, [0, 0, 0, 1_000, 2_000, 4_000, 8_000, 8_000]);
  assert.equal(throttle.waitMs('b', 0), 0);
  assert.equal(throttle.waitMs('a', 7_999), 1);
  assert.equal(throttle.waitMs('a', 8_000), 0);
  assert.equal(throttle.waitMs('a', 60_000), 0);
  assert.equal(throttle.size, 0);
});

test('a login that succeeds is forgiven; a shared address loses that one count only', () => {
  const throttle = new LoginThrottle(limits);
  for (let i = 0; i < 5; i++) throttle.count('a', 0);
  throttle.takeBack('a');
  assert.equal(throttle.waitMs('a', 0), 1_000);
  throttle.forgive('a');
  assert.equal(throttle.waitMs('a', 0), 0);
});

test('memory is bounded: who has been quiet the longest is forgotten first', () => {
  const throttle = new LoginThrottle(limits, 100);
  for (let i = 0; i < 4; i++) throttle.count('victim', 0);
  for (let i = 0; i < 99; i++) throttle.count(`k${i}`, 0);
  assert.equal(throttle.waitMs('victim', 0), 1_000);
  for (let i = 0; i < 10_000; i++) throttle.count(`more${i}`, 0);
  assert.equal(throttle.size, 100);
});

test('an IPv6 customer counts as one, however it is written', () => {
  assert.equal(networkOf('192.0.2.7'), '192.0.2.7');
  assert.equal(networkOf('::ffff:192.0.2.7'), '192.0.2.7');
  assert.equal(networkOf('2001:db8:1:2:aaaa::1'), networkOf('2001:0db8:0001:0002:ffff:ffff:ffff:ffff'));
  assert.notEqual(networkOf('2001:db8:1:2::1'), networkOf('2001:db8:1:3::1'));
  assert.equal(networkOf('::1'), '0:0:0:0');
});
