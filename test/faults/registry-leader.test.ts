import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLong } from '../support/campaign.ts';
import { announcementOf, untilState, untilToken } from '../support/registries.ts';
import { registryChild } from '../support/registry-children.ts';
import { seeded } from '../support/seed.ts';
import type { TcpProxy } from '../support/tcp-proxy.ts';
import { freshWith, has, through, TIMEOUT_MS, until, zooKeeperOfFile } from '../support/zookeeper-file.ts';

const OFFICE = 'agenda';
const zookeeper = zooKeeperOfFile();

test('a process that stops is gone at once for the others, and the next in line leads with a higher token', async (t) => {
  const place = zookeeper.placeOf(t);
  const [first, second] = [await place.open(), await place.open()];
  const [one, two] = [announcementOf(), announcementOf({ host: 'mailer' })];
  await first.announce(one);
  await second.announce(two);
  const firstToken = (await untilToken(first.elect(OFFICE), true))!;
  const secondElection = second.elect(OFFICE);
  await untilState(second, freshWith(one.process, two.process));
  assert.equal(secondElection.token, undefined);
  const began = performance.now();
  await first.stop(5_000);
  const secondToken = (await untilToken(secondElection, true))!;
  await untilState(second, freshWith(two.process));
  assert.ok(performance.now() - began < TIMEOUT_MS / 2, 'that took as long as an expiry');
  assert.ok(secondToken > firstToken);
});

test('a process that is killed is gone when its session expires, and its office goes on', async (t) => {
  const place = zookeeper.placeOf(t);
  const child = await registryChild(t, place.settings(), OFFICE);
  const other = await place.open();
  await untilState(other, freshWith(child.id));
  const theirs = BigInt((await child.until(({ token }) => token !== null)).token!);
  const election = other.elect(OFFICE);
  child.kill('SIGKILL');
  const ours = (await untilToken(election, true))!;
  assert.ok(ours > theirs);
  await untilState(other, freshWith());
});

test('a server that freezes: its leader steps down before the session can expire, the list stays, all comes back with the server', async (t) => {
  const place = zookeeper.placeOf(t);
  const registry = await place.open();
  const own = announcementOf();
  await registry.announce(own);
  const election = registry.elect(OFFICE);
  const before = (await untilToken(election, true))!;
  await untilState(registry, freshWith(own.process));
  t.after(() => zookeeper.server.thaw());
  const frozen = performance.now();
  zookeeper.server.freeze();
  await untilToken(election, false);
  const tookMs = performance.now() - frozen;
  t.diagnostic(`stepped down ${Math.round(tookMs)} ms after the freeze; the session is good for ${TIMEOUT_MS} ms`);
  assert.ok(tookMs < TIMEOUT_MS, `led ${tookMs} ms after the last word of the server`);
  const stale = await untilState(registry, ({ fresh }) => !fresh);
  assert.ok(has(stale, own.process));
  zookeeper.server.thaw();
  assert.ok((await untilToken(election, true))! > before);
  await untilState(registry, freshWith(own.process));
});

test('a leader whose connection falls silent has stepped down before anybody else leads', async (t) => {
  const place = zookeeper.placeOf(t);
  const proxy = await zookeeper.proxyOf(t);
  const cutOff = (await place.open(through(proxy))).elect(OFFICE);
  const before = (await untilToken(cutOff, true))!;
  const next = (await place.open()).elect(OFFICE);
  let steppedDown = Infinity;
  cutOff.onChange = () => (steppedDown = performance.now());
  proxy.freeze();
  const token = (await untilToken(next, true))!;
  const led = performance.now();
  t.diagnostic(`stepped down ${Math.round(led - steppedDown)} ms before the next led`);
  assert.equal(cutOff.token, undefined);
  assert.ok(steppedDown < led);
  assert.ok(token > before);
});

test('an event loop that is blocked past the session leads no more from the moment that it goes on', async (t) => {
  const registry = await zookeeper.placeOf(t).open();
  const own = announcementOf();
  await registry.announce(own);
  const election = registry.elect(OFFICE);
  const before = (await untilToken(election, true))!;
  await untilState(registry, freshWith(own.process));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TIMEOUT_MS * 1.5);
  assert.equal(election.token, undefined);
  assert.ok((await untilToken(election, true))! > before);
  await untilState(registry, freshWith(own.process));
});

test('a leader that is frozen does not lead when it goes on, and what it held is refused by who keeps the tokens', async (t) => {
  const place = zookeeper.placeOf(t);
  const register = new FencedRegister();
  const child = await registryChild(t, place.settings(), OFFICE);
  const old = BigInt((await child.until(({ token }) => token !== null)).token!);
  assert.ok(register.write(old, 'by the child'));
  const registry = await place.open();
  const election = registry.elect(OFFICE);
  child.kill('SIGSTOP');
  const next = (await untilToken(election, true))!;
  assert.ok(register.write(next, 'by the next'));
  const woken = child.until(({ silentMs }) => silentMs > TIMEOUT_MS / 2);
  child.kill('SIGCONT');
  const first = await woken;
  assert.equal(first.token, null, 'it believed that it led before it had asked');
  assert.equal(register.write(BigInt(first.held!), 'too late'), false);
  await registry.stop(1_000);
  const again = BigInt((await child.until(({ token }) => token !== null)).token!);
  assert.ok(register.write(again, 'by the child again'));
  assert.deepEqual(register.values, ['by the child', 'by the next', 'by the child again']);
});

test('whatever breaks, in any order: no two lead at once, tokens rise, and in the end everybody knows everybody', async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const place = zookeeper.placeOf(t);
  const proxies = await Promise.all(Array.from({ length: 3 }, () => zookeeper.proxyOf(t)));
  const registries = await Promise.all(proxies.map((proxy) => place.open(through(proxy))));
  const own = registries.map(() => announcementOf());
  await Promise.all(registries.map((registry, at) => registry.announce(own[at]!)));
  const elections = registries.map((registry) => registry.elect(OFFICE));
  const tokens: bigint[] = [];
  const failures: string[] = [];
  const look = setInterval(() => {
    const leading = elections.flatMap(({ token }) => (token === undefined ? [] : [token]));
    if (leading.length > 0 && leading[0] !== tokens.at(-1)) tokens.push(leading[0]!);
    if (leading.length > 1) failures.push(`${leading.join(' and ')} led at once`);
  }, 2);
  t.after(() => clearInterval(look));
  const breakSomething: readonly ((proxy: TcpProxy) => Promise<void> | void)[] = [
    (proxy) => proxy.cut(),
    (proxy) => proxy.cutAfter(random.whole(200)),
    (proxy) => proxy.freeze(),
    (proxy) => proxy.thaw(),
    (proxy) => proxy.thaw(),
    () => zookeeper.server.kill().then(() => zookeeper.server.up()),
  ];
  for (let round = 0; round < (isLong ? 500 : 16); round++) {
    // Half of the time it hits the leader.
    const leader = elections.findIndex(({ token }) => token !== undefined);
    const victim = leader >= 0 && random.whole(2) === 0 ? leader : random.whole(proxies.length);
    await breakSomething[random.whole(breakSomething.length)]!(proxies[victim]!);
    await sleep(random.whole(TIMEOUT_MS / 4));
  }
  for (const proxy of proxies) {
    proxy.thaw();
    proxy.cutAfter(Infinity);
  }
  await Promise.all(registries.map((registry) => untilState(registry, freshWith(...own.map(({ process }) => process)), 30_000)));
  await until(() => elections.some(({ token }) => token !== undefined), 'nobody leads in the end');
  assert.deepEqual(failures, []);
  assert.deepEqual(
    tokens,
    tokens.toSorted((one, other) => (one < other ? -1 : 1)),
  );
  t.diagnostic(`${tokens.length} times somebody began to lead`);
});

/** Takes what is written with a token that is not below the highest it has seen, as a store does. */
class FencedRegister {
  readonly values: string[] = [];
  #highest = 0n;

  write(token: bigint, value: string): boolean {
    if (token < this.#highest) return false;
    this.#highest = token;
    this.values.push(value);
    return true;
  }
}
