import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { LoginThrottle, networkOf } from '../../../../modules/portal/access/login-throttle.ts';
import type { Transaction } from '../../../../src/ports/storage.ts';
import type { Tables } from '../../../../modules/portal/tables.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { openPortalStore, type PortalStore } from '../../../support/portal-store.ts';

const limits = { free: 3, firstWaitMs: 1_000, longestWaitMs: 8_000, forgetMs: 60_000 };

let portal: PortalStore;
before(async () => void (portal = await openPortalStore(new FakeClock())));
after(() => portal.close());

const within = <T>(work: (tx: Transaction<Tables>) => Promise<T>) => portal.store.transaction(work);

test('a few failures are free, then each doubles the wait up to the longest', () =>
  within(async (tx) => {
    const throttle = new LoginThrottle('doubling', limits);
    const waits: number[] = [];
    for (let i = 0; i < 8; i++) {
      await throttle.count(tx, 'a', 0);
      waits.push(await throttle.waitMs(tx, 'a', 0));
    }
    assert.deepEqual(waits, [0, 0, 0, 1_000, 2_000, 4_000, 8_000, 8_000]);
    assert.equal(await throttle.waitMs(tx, 'b', 0), 0);
    assert.equal(await new LoginThrottle('another', limits).waitMs(tx, 'a', 0), 0);
    assert.equal(await throttle.waitMs(tx, 'a', 7_999), 1);
    assert.equal(await throttle.waitMs(tx, 'a', 8_000), 0);
    await throttle.count(tx, 'a', 60_000);
    assert.equal(await throttle.waitMs(tx, 'a', 60_000), 0, 'forgotten after a minute of quiet');
  }));

test('a login that succeeds is forgiven; a shared address loses that one count only', () =>
  within(async (tx) => {
    const throttle = new LoginThrottle('forgiving', limits);
    for (let i = 0; i < 5; i++) await throttle.count(tx, 'a', 0);
    await throttle.takeBack(tx, 'a');
    assert.equal(await throttle.waitMs(tx, 'a', 0), 1_000);
    await throttle.forgive(tx, 'a');
    assert.equal(await throttle.waitMs(tx, 'a', 0), 0);
  }));

test('what has been forgotten is deleted as others are counted', () =>
  within(async (tx) => {
    const throttle = new LoginThrottle('deleting', limits);
    const kept = async () => (await tx.db.selectFrom('login_failures').select('key').where('kind', '=', 'deleting').execute()).length;
    for (let i = 0; i < 50; i++) await throttle.count(tx, `k${i}`, 0);
    assert.equal(await kept(), 50);
    for (let i = 0; i < 6; i++) await throttle.count(tx, 'later', 60_000);
    assert.equal(await kept(), 1);
  }));

test('an IPv6 customer counts as one, however it is written', () => {
  assert.equal(networkOf('192.0.2.7'), '192.0.2.7');
  assert.equal(networkOf('::ffff:192.0.2.7'), '192.0.2.7');
  assert.equal(networkOf('2001:db8:1:2:aaaa::1'), networkOf('2001:0db8:0001:0002:ffff:ffff:ffff:ffff'));
  assert.notEqual(networkOf('2001:db8:1:2::1'), networkOf('2001:db8:1:3::1'));
  assert.equal(networkOf('::1'), '0:0:0:0');
});
