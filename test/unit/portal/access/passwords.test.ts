import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Passwords } from '../../../../modules/portal/access/passwords.ts';
import { Fault } from '../../../../src/kernel/fault.ts';

/** So that a test takes no seconds. */
const QUICK = { N: 2 ** 12, r: 8, p: 1 };

test('a password matches its own hash only, and no two hashes are the same', async () => {
  const passwords = new Passwords();
  const [one, two] = await Promise.all([passwords.hash('correct horse battery'), passwords.hash('correct horse battery')]);
  assert.notEqual(one, two);
  assert.match(one, /^scrypt\$65536\$8\$2\$/);
  assert.equal(await passwords.matches('correct horse battery', one), true);
  assert.equal(await passwords.matches('correct horse batterz', one), false);
});

test('what looks the same counts as the same, composed or not', async () => {
  const passwords = new Passwords(QUICK);
  assert.equal(await passwords.matches('cafe\u0301 au lait, s\u2019il', await passwords.hash('caf\u00e9 au lait, s\u2019il')), true);
});

test('nobody has no password, and finding that out takes the same work', async () => {
  const passwords = new Passwords();
  const hash = await passwords.hash('correct horse battery');
  const time = async (stored: string | null) => {
    const before = process.cpuUsage();
    assert.equal(await passwords.matches('wrong wrong wrong', stored), false);
    return process.cpuUsage(before).user;
  };
  await time(hash);
  const [known, nobody] = [await time(hash), await time(null)];
  assert.ok(nobody > known / 4, `CPU: ${known} µs for a user, ${nobody} µs for nobody`);
});

test('a flood is turned away before it takes memory', async () => {
  const passwords = new Passwords(QUICK);
  const results = await Promise.allSettled(Array.from({ length: 30 }, () => passwords.matches('x', null)));
  const refused = results.filter((result) => result.status === 'rejected');
  assert.equal(refused.length, 18);
  for (const { reason } of refused) assert.ok(Fault.is(reason) && reason.code === 'exhausted' && reason.details.retryAfterMs === 5_000);
  assert.equal(await passwords.matches('x', null), false);
});
