import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RegistryState } from '../../src/ports/registry.ts';
import { isLong } from '../support/campaign.ts';
import { heldMb } from '../support/held-memory.ts';
import { announcementOf, HOSTS, untilState, untilToken } from '../support/registries.ts';
import { freshWith, has, Lines, portThat, through, TIMEOUT_MS, until, untilChildren, zooKeeperOfFile } from '../support/zookeeper-file.ts';

const OFFICE = 'agenda';
const zookeeper = zooKeeperOfFile();

test('a process that stops while its announcement is on its way leaves none', async (t) => {
  const place = zookeeper.placeOf(t);
  const other = await place.open();
  await untilState(other, freshWith());
  const client = await zookeeper.stranger(t);
  for (let waitMs = 0; waitMs < 40; waitMs += 2) {
    const registry = await place.open({ sessionTimeoutMs: 30_000 });
    await registry.announce(announcementOf());
    registry.elect(OFFICE);
    await sleep(waitMs);
    await registry.stop(5_000);
  }
  await untilChildren(client, `${place.root}/hosts`, 0);
  await untilChildren(client, `${place.root}/offices/${OFFICE}`, 0);
});

test('a connection that is cut in the middle of a packet, at whichever byte', async (t) => {
  const place = zookeeper.placeOf(t);
  await Promise.all(
    [0, 1, 3, 4, 5, 15, 19, 20, 21, 40].map(async (bytes) => {
      const proxy = await zookeeper.proxyOf(t);
      // So long that what the old session left would hold up everything if it were not removed.
      const registry = await place.open({ ...through(proxy), root: `${place.root}/after-${bytes}`, sessionTimeoutMs: 30_000 });
      const own = announcementOf();
      await registry.announce(own);
      const election = registry.elect(OFFICE);
      const before = (await untilToken(election, true))!;
      await untilState(registry, freshWith(own.process));
      const lost = untilToken(election, false);
      proxy.cutAfter(bytes);
      await registry.announce({ ...own, contracts: { portal: 'another' } });
      await lost;
      assert.ok((await untilToken(election, true))! > before);
      await untilState(registry, freshWith(own.process));
    }),
  );
});

test('an announcement whose answer is lost is made again, and the one in doubt does not stay beside it', async (t) => {
  const place = zookeeper.placeOf(t);
  const proxy = await zookeeper.proxyOf(t);
  const registry = await place.open({ ...through(proxy), sessionTimeoutMs: 30_000 });
  await untilState(registry, freshWith());
  const client = await zookeeper.stranger(t);
  proxy.cutAfter(0);
  const own = announcementOf();
  await registry.announce(own);
  // ZooKeeper has made the first node, since it answered; the registry numbers them.
  await untilChildren(client, `${place.root}/hosts`, 1, /-1$/);
  await untilState(registry, freshWith(own.process));
});

test('a server that says nothing, or closes, or is not there, is passed over for the next one', async (t) => {
  const mute = await portThat(t, () => {});
  const rude = await portThat(t, (socket) => socket.destroy());
  const place = zookeeper.placeOf(t);
  const servers = [mute.port, rude.port, 1, zookeeper.server.port].map((port) => `127.0.0.1:${port}`);
  // Each begins at one by chance.
  const registries = await Promise.all(Array.from({ length: 8 }, () => place.open({ servers }, undefined, HOSTS)));
  const own = registries.map(() => announcementOf());
  await Promise.all(registries.map((registry, at) => registry.announce(own[at]!)));
  await Promise.all(registries.map((registry) => untilState(registry, freshWith(...own.map(({ process }) => process)))));
});

test('a server that talks rubbish ends nothing but the connection to it', async (t) => {
  const packet = (...words: number[]): Buffer => Buffer.concat([word(words.length * 4), ...words.map(word)]);
  const word = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(value);
    return bytes;
  };
  // Version, time-out, session, a password of 16 bytes: what a server answers to a client that is welcome.
  const welcome = packet(0, TIMEOUT_MS, 0, 1, 16, 0, 0, 0, 0);
  const rubbish = [word(-1), word(2 ** 31 - 1), word(0), packet(1), Buffer.concat([welcome, word(-5)]), Buffer.concat([welcome, packet(-1, 0, 0, 0, 99)]), Buffer.concat([welcome, packet(0, 0, 0, -999)]), Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')];
  await Promise.all(
    rubbish.map(async (bytes) => {
      const port = await portThat(t, (socket) => void socket.once('data', () => socket.write(bytes)));
      const registry = await zookeeper.placeOf(t).open({ servers: [`127.0.0.1:${port.port}`, `127.0.0.1:${zookeeper.server.port}`] });
      const own = announcementOf();
      await registry.announce(own);
      await untilState(registry, freshWith(own.process));
    }),
  );
});

test('a server that is killed and comes back: the list stays, everything is announced again, tokens rise', async (t) => {
  const place = zookeeper.placeOf(t);
  const [first, second] = [await place.open(), await place.open()];
  const [one, two] = [announcementOf(), announcementOf({ host: 'mailer' })];
  await first.announce(one);
  await second.announce(two);
  const election = first.elect(OFFICE);
  const before = (await untilToken(election, true))!;
  await untilState(first, freshWith(one.process, two.process));
  const seen: RegistryState[] = [];
  first.watch((state) => seen.push(state));
  await zookeeper.server.kill();
  await untilToken(election, false);
  await untilState(first, ({ fresh }) => !fresh);
  await zookeeper.server.up();
  assert.ok((await untilToken(election, true, 15_000))! > before);
  await untilState(first, freshWith(one.process, two.process), 15_000);
  assert.ok(
    seen.every((state) => has(state, one.process, two.process)),
    'somebody was missing in between',
  );
});

test(`a server that is away for ${isLong ? 'five minutes' : 'seconds'} is asked ever more seldom, and costs no memory however often one announces`, async (t) => {
  const gone = await portThat(t, (socket) => socket.destroy());
  const lines = new Lines();
  const place = zookeeper.placeOf(t);
  const registry = await place.open({ servers: [`127.0.0.1:${gone.port}`] }, lines.log, HOSTS);
  const own = announcementOf();
  const before = await heldMb();
  const end = performance.now() + (isLong ? 300_000 : 3_000);
  for (let load = 0; performance.now() < end || gone.met < 3; load += 10_000) {
    for (let at = 0; at < 10_000; at++) await registry.announce({ ...own, load: load + at });
    await sleep(100);
  }
  const grownMb = (await heldMb()) - before;
  t.diagnostic(`${gone.met} connections, ${grownMb.toFixed(1)} MB more`);
  assert.ok(gone.met <= (isLong ? 130 : 9), `${gone.met} connections`);
  assert.ok(grownMb < 10, `${grownMb} MB`);
  assert.equal(lines.lines.length, 1);
  const state = await untilState(registry, () => true);
  assert.deepEqual([state.fresh, state.announcements.length], [false, 2]);
});

test('after an outage those who come back later are not missed meanwhile, and who does not come back is dropped in the end', async (t) => {
  const place = zookeeper.placeOf(t);
  const proxy = await zookeeper.proxyOf(t);
  const [first, late, gone] = [await place.open(), await place.open(through(proxy)), await place.open()];
  const [one, two, three] = [announcementOf(), announcementOf({ host: 'mailer' }), announcementOf({ host: 'mailer' })];
  await first.announce(one);
  await late.announce(two);
  await gone.announce(three);
  await untilState(first, freshWith(one.process, two.process, three.process));
  const seen: RegistryState[] = [];
  first.watch((state) => seen.push(state));
  proxy.freeze();
  await zookeeper.server.kill();
  await untilState(first, ({ fresh }) => !fresh);
  await gone.stop(100);
  zookeeper.server.wipe();
  await zookeeper.server.up();
  const ofOthers = await zookeeper.stranger(t);
  await untilChildren(ofOthers, `${place.root}/hosts`, 1);
  proxy.thaw();
  proxy.cut();
  await untilChildren(ofOthers, `${place.root}/hosts`, 2);
  assert.ok(
    seen.every((state) => has(state, one.process, two.process, three.process)),
    'somebody was missing in between',
  );
  await untilState(first, freshWith(one.process, two.process), 20_000);
});

test('stops within its deadline while the server is frozen, mute or away, and leaves nothing open', async (t) => {
  const place = zookeeper.placeOf(t);
  const proxy = await zookeeper.proxyOf(t);
  const mute = await portThat(t, () => {});
  const frozen = await place.open(through(proxy));
  await untilState(frozen, freshWith());
  const others = [await place.open({ servers: [`127.0.0.1:${mute.port}`] }), await place.open({ servers: ['127.0.0.1:1'] })];
  await until(() => mute.open === 1, 'the mute port was never called');
  proxy.freeze();
  const began = performance.now();
  await Promise.all([frozen, ...others].map((registry) => registry.stop(300)));
  assert.ok(performance.now() - began < 1_000);
  proxy.thaw();
  await until(() => mute.open + proxy.connections === 0, 'a connection is still open');
});
