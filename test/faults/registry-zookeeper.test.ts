import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, type TestContext as Test, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient, CreateMode, type Client } from 'node-zookeeper-client';
import { newId } from '../../src/kernel/ids.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import type { Registry, RegistryNeeds, RegistryState } from '../../src/ports/registry.ts';
import { within } from '../support/buses.ts';
import { longestTurn } from '../support/longest-turn.ts';
import { announcementOf, createRegistry, HOSTS, untilState, untilToken } from '../support/registries.ts';
import type { RegistryChildPlan, RegistryChildWord } from '../support/registry-child.ts';
import { seeded } from '../support/seed.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { ZooKeeperServer } from '../support/zookeeper.ts';

const LONG = process.env.MULTILITH_FAULTS === 'long';
const TIMEOUT_MS = 2_000;
const OFFICE = 'agenda';

let server: ZooKeeperServer;
before(async () => void (server = await ZooKeeperServer.start()));
after(() => server.remove());

/** A log that keeps what it is told. */
class Lines {
  readonly lines: { readonly fields: Record<string, unknown>; readonly message: string }[] = [];
  readonly log: Log;

  constructor() {
    const keep = (fields: object, message: string): void => void this.lines.push({ fields: { ...fields }, message });
    this.log = { debug: keep, info: keep, warn: keep, error: keep, child: () => this.log };
  }

  about(words: string): object[] {
    return this.lines.filter(({ message }) => message.includes(words)).map(({ fields }) => fields);
  }
}

interface Place {
  readonly root: string;
  /** Started; stopped after the test. */
  open(settings?: object, log?: Log, hosts?: RegistryNeeds['hosts']): Promise<Registry>;
  settings(change?: object): object;
}

/** A deployment of its own. */
function placeOf(t: Test): Place {
  const root = `/${newId()}`;
  const settings = (change: object = {}): object => ({ servers: [`127.0.0.1:${server.port}`], sessionTimeoutMs: TIMEOUT_MS, root, ...change });
  return {
    root,
    settings,
    async open(change, log, hosts = []) {
      const registry = createRegistry('zookeeper', settings(change), log ? { log } : {}, hosts);
      t.after(() => registry.stop(1_000));
      await registry.start();
      return registry;
    },
  };
}

async function proxyOf(t: Test): Promise<TcpProxy> {
  const proxy = await TcpProxy.start(server.port);
  t.after(() => proxy.stop());
  return proxy;
}

const through = (proxy: TcpProxy): object => ({ servers: [`127.0.0.1:${proxy.port}`] });
const has = (state: RegistryState, ...processes: string[]): boolean => processes.every((id) => state.announcements.some(({ process }) => process === id));
const freshWith = (...processes: string[]) => (state: RegistryState) => state.fresh && has(state, ...processes) && state.announcements.length === processes.length;

/** A client of the library's own, to do what no registry does. */
async function stranger(t: Test): Promise<Client> {
  const client = createClient(`127.0.0.1:${server.port}`, { sessionTimeout: 10_000 });
  const connected = once(client, 'connected');
  client.connect();
  await connected;
  t.after(() => client.close());
  return client;
}

function put(client: Client, path: string, data: Buffer, mode = CreateMode.EPHEMERAL): Promise<string> {
  return new Promise((resolve, reject) => client.create(path, data, mode, (error, made) => (error ? reject(error) : resolve(made))));
}

function childrenOf(client: Client, path: string): Promise<string[]> {
  return new Promise((resolve, reject) => client.getChildren(path, (error, names) => (error ? reject(error) : resolve(names))));
}

function removeFrom(client: Client, path: string): Promise<void> {
  return new Promise((resolve, reject) => client.remove(path, (error) => (error ? reject(error) : resolve())));
}

/** A port that does with connections what it is told. */
async function portThat(t: Test, meet: (socket: Socket) => void): Promise<{ readonly port: number; readonly met: number; readonly open: number }> {
  const sockets = new Set<Socket>();
  let met = 0;
  const listening = createServer((socket) => {
    met++;
    sockets.add(socket.resume().on('error', () => {}).on('close', () => sockets.delete(socket)));
    meet(socket);
  }).listen(0, '127.0.0.1');
  await once(listening, 'listening');
  t.after(() => {
    listening.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = listening.address() as AddressInfo;
  return {
    port,
    get met() {
      return met;
    },
    get open() {
      return sockets.size;
    },
  };
}

test('a process that stops is gone at once for the others, and the next in line leads with a higher token', async (t) => {
  const place = placeOf(t);
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

test('a process that stops while its announcement is on its way leaves none', async (t) => {
  const place = placeOf(t);
  const other = await place.open();
  await untilState(other, freshWith());
  const client = await stranger(t);
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

test('a process that is killed is gone when its session expires, and its office goes on', async (t) => {
  const place = placeOf(t);
  const child = await registryChild(t, place);
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
  const place = placeOf(t);
  const registry = await place.open();
  const own = announcementOf();
  await registry.announce(own);
  const election = registry.elect(OFFICE);
  const before = (await untilToken(election, true))!;
  await untilState(registry, freshWith(own.process));
  t.after(() => server.thaw());
  const frozen = performance.now();
  server.freeze();
  await untilToken(election, false);
  const tookMs = performance.now() - frozen;
  t.diagnostic(`stepped down ${Math.round(tookMs)} ms after the freeze; the session is good for ${TIMEOUT_MS} ms`);
  assert.ok(tookMs < TIMEOUT_MS, `led ${tookMs} ms after the last word of the server`);
  const stale = await untilState(registry, ({ fresh }) => !fresh);
  assert.ok(has(stale, own.process));
  server.thaw();
  assert.ok((await untilToken(election, true))! > before);
  await untilState(registry, freshWith(own.process));
});

test('a leader whose connection falls silent has stepped down before anybody else leads', async (t) => {
  const place = placeOf(t);
  const proxy = await proxyOf(t);
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
  const registry = await placeOf(t).open();
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
  const place = placeOf(t);
  const register = new FencedRegister();
  const child = await registryChild(t, place);
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

test('a connection that is cut in the middle of a packet, at whichever byte', async (t) => {
  const place = placeOf(t);
  await Promise.all(
    [0, 1, 3, 4, 5, 15, 19, 20, 21, 40].map(async (bytes) => {
      const proxy = await proxyOf(t);
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
  const place = placeOf(t);
  const proxy = await proxyOf(t);
  const registry = await place.open({ ...through(proxy), sessionTimeoutMs: 30_000 });
  await untilState(registry, freshWith());
  const client = await stranger(t);
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
  const place = placeOf(t);
  const servers = [mute.port, rude.port, 1, server.port].map((port) => `127.0.0.1:${port}`);
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
      const registry = await placeOf(t).open({ servers: [`127.0.0.1:${port.port}`, `127.0.0.1:${server.port}`] });
      const own = announcementOf();
      await registry.announce(own);
      await untilState(registry, freshWith(own.process));
    }),
  );
});

test('a server that is killed and comes back: the list stays, everything is announced again, tokens rise', async (t) => {
  const place = placeOf(t);
  const [first, second] = [await place.open(), await place.open()];
  const [one, two] = [announcementOf(), announcementOf({ host: 'mailer' })];
  await first.announce(one);
  await second.announce(two);
  const election = first.elect(OFFICE);
  const before = (await untilToken(election, true))!;
  await untilState(first, freshWith(one.process, two.process));
  const seen: RegistryState[] = [];
  first.watch((state) => seen.push(state));
  await server.kill();
  await untilToken(election, false);
  await untilState(first, ({ fresh }) => !fresh);
  await server.up();
  assert.ok((await untilToken(election, true, 15_000))! > before);
  await untilState(first, freshWith(one.process, two.process), 15_000);
  assert.ok(
    seen.every((state) => has(state, one.process, two.process)),
    'somebody was missing in between',
  );
});

test(`a server that is away for ${LONG ? 'five minutes' : 'seconds'} is asked ever more seldom, and costs no memory however often one announces`, async (t) => {
  const gone = await portThat(t, (socket) => socket.destroy());
  const lines = new Lines();
  const place = placeOf(t);
  const registry = await place.open({ servers: [`127.0.0.1:${gone.port}`] }, lines.log, HOSTS);
  const own = announcementOf();
  const before = process.memoryUsage().heapUsed;
  const end = performance.now() + (LONG ? 300_000 : 3_000);
  for (let load = 0; performance.now() < end; load += 10_000) {
    for (let at = 0; at < 10_000; at++) await registry.announce({ ...own, load: load + at });
    await sleep(100);
  }
  const grownMb = (process.memoryUsage().heapUsed - before) / 2 ** 20;
  t.diagnostic(`${gone.met} connections, ${grownMb.toFixed(1)} MB more`);
  assert.ok(gone.met >= 3 && gone.met <= (LONG ? 130 : 9), `${gone.met} connections`);
  assert.ok(grownMb < 60);
  assert.equal(lines.lines.length, 1);
  const state = await untilState(registry, () => true);
  assert.deepEqual([state.fresh, state.announcements.length], [false, 2]);
});

test('after an outage those who come back later are not missed meanwhile, and who does not come back is dropped in the end', async (t) => {
  const place = placeOf(t);
  const proxy = await proxyOf(t);
  const [first, late, gone] = [await place.open(), await place.open(through(proxy)), await place.open()];
  const [one, two, three] = [announcementOf(), announcementOf({ host: 'mailer' }), announcementOf({ host: 'mailer' })];
  await first.announce(one);
  await late.announce(two);
  await gone.announce(three);
  await untilState(first, freshWith(one.process, two.process, three.process));
  const seen: RegistryState[] = [];
  first.watch((state) => seen.push(state));
  proxy.freeze();
  await server.kill();
  await untilState(first, ({ fresh }) => !fresh);
  await gone.stop(100);
  server.wipe();
  await server.up();
  const ofOthers = await stranger(t);
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

test('nodes that are no announcements are ignored, with one line in the log each, of a bounded number', async (t) => {
  const place = placeOf(t);
  const lines = new Lines();
  const registry = await place.open({ refreshMs: 300 }, lines.log);
  const own = announcementOf();
  await registry.announce(own);
  await untilState(registry, freshWith(own.process));
  const client = await stranger(t);
  const good = announcementOf({ host: 'mailer' });
  const hostile: Record<string, unknown> = {
    empty: '',
    'no JSON': '{"host":',
    'a list': '[]',
    null: 'null',
    'no address': JSON.stringify({ ...good, address: undefined }),
    'an address without a port': JSON.stringify({ ...good, address: 'mailer' }),
    'a line break in a name': JSON.stringify({ ...good, process: 'a\nb' }),
    'no name of a contract': JSON.stringify({ ...good, contracts: { constructorOf_: 'x' } }),
    'a load of text': JSON.stringify({ ...good, load: 'much' }),
    'a negative load': JSON.stringify({ ...good, load: -1 }),
    'deep nesting': '['.repeat(4_000),
    'too long': JSON.stringify({ ...good, more: 'x'.repeat(10_000) }),
    'as long as can be': Buffer.alloc(1_000_000, 0xff),
    'broken UTF-8': Buffer.from([0x22, 0xc3, 0x28, 0x22]),
  };
  await put(client, `${place.root}/hosts/of somebody else`, Buffer.from('hello'));
  for (const data of Object.values(hostile)) await put(client, `${place.root}/hosts/${newId()}-1`, Buffer.isBuffer(data) ? data : Buffer.from(String(data)));
  await put(client, `${place.root}/hosts/${newId()}-1`, Buffer.from(JSON.stringify({ ...good, ofANewerVersion: true })));
  await untilState(registry, freshWith(own.process, good.process));
  // Several times all is read again.
  await sleep(1_000);
  const told = lines.about('is no announcement');
  assert.equal(told.length, Object.keys(hostile).length, JSON.stringify(told));
  assert.equal(lines.about('are ignored').length, 1);
  await Promise.all(Array.from({ length: 400 }, () => put(client, `${place.root}/hosts/${newId()}-1`, Buffer.from('rubbish'))));
  const last = announcementOf({ host: 'mailer' });
  await put(client, `${place.root}/hosts/${newId()}-1`, Buffer.from(JSON.stringify(last)));
  await untilState(registry, freshWith(own.process, good.process, last.process));
  assert.ok(lines.lines.length < 200, `${lines.lines.length} lines`);
  assert.ok(!JSON.stringify(lines.lines).includes('rubbish'), 'contents of others are in the log');
});

test('what somebody removes by hand is there again: an announcement, a candidate, everything', async (t) => {
  const place = placeOf(t);
  const registry = await place.open();
  const own = announcementOf();
  await registry.announce(own);
  const election = registry.elect(OFFICE);
  const first = (await untilToken(election, true))!;
  await untilState(registry, freshWith(own.process));
  const client = await stranger(t);
  const [node] = await childrenOf(client, `${place.root}/hosts`);
  await removeFrom(client, `${place.root}/hosts/${node}`);
  await untilChildren(client, `${place.root}/hosts`, 1, new RegExp(node!));

  const [candidate] = await childrenOf(client, `${place.root}/offices/${OFFICE}`);
  await put(client, `${place.root}/offices/${OFFICE}/of-somebody-else-0000000000`, Buffer.alloc(0));
  const changed = new Promise<void>((resolve) => (election.onChange = resolve));
  await removeFrom(client, `${place.root}/offices/${OFFICE}/${candidate}`);
  await within(5_000, changed, () => 'it did not notice');
  const second = (await untilToken(election, true))!;
  assert.ok(second > first);
  await untilState(registry, freshWith(own.process));
});

test('loads are written seldom, and the last one arrives', async (t) => {
  const place = placeOf(t);
  const [writer, reader] = [await place.open({ refreshMs: 100 }), await place.open({ refreshMs: 100 })];
  const own = announcementOf();
  await writer.announce(own);
  await untilState(reader, freshWith(own.process));
  const seen = new Set<number>();
  reader.watch(({ announcements }) => seen.add(announcements[0]!.load));
  let load = 0;
  for (const end = performance.now() + 1_000; performance.now() < end; await sleep(10)) await writer.announce({ ...own, load: ++load });
  await untilState(reader, ({ announcements }) => announcements[0]!.load === load);
  assert.ok(seen.size <= 3, `loads ${[...seen].join(', ')} were written`);
});

test('two hundred processes: a newcomer knows them all soon, and nobody computes for long', async (t) => {
  const place = placeOf(t);
  const registries = [await place.open(), await place.open()];
  await untilState(registries[0]!, freshWith());
  const client = await stranger(t);
  const turn = longestTurn(t);
  const others = Array.from({ length: 200 }, (_, at) => announcementOf({ host: `host-${at}`, address: `127.0.0.1:${8_000 + at}` }));
  const everybody = freshWith(...others.map(({ process }) => process));
  const nodes = await Promise.all(others.map((other) => put(client, `${place.root}/hosts/${newId()}-1`, Buffer.from(JSON.stringify(other)))));
  await Promise.all(registries.map((registry) => untilState(registry, everybody)));
  const began = performance.now();
  const newcomer = await place.open();
  await untilState(newcomer, everybody);
  t.diagnostic(`the newcomer knew all after ${Math.round(performance.now() - began)} ms; the longest turn was ${turn.ms().toFixed(1)} ms`);
  assert.ok(turn.ms() < 50, `one turn took ${turn.ms()} ms`);
  await Promise.all(nodes.slice(1).map((node) => removeFrom(client, node)));
  await Promise.all([newcomer, ...registries].map((registry) => untilState(registry, freshWith(others[0]!.process))));
});

test('with a password, what is written is for those who know it; without it a host goes on alone and says why once', async (t) => {
  const place = placeOf(t);
  const secret = 'correct horse';
  const [one, two] = [await place.open({ username: 'multilith', password: secret }), await place.open({ username: 'multilith', password: secret })];
  const [first, second] = [announcementOf(), announcementOf()];
  await one.announce(first);
  await two.announce(second);
  const token = await untilToken(one.elect(OFFICE), true);
  assert.ok(token !== undefined);
  await untilState(one, freshWith(first.process, second.process));
  const lines = new Lines();
  const outsider = await place.open({ username: 'multilith', password: 'guessed' }, lines.log, HOSTS);
  await outsider.announce(announcementOf());
  const election = outsider.elect(OFFICE);
  await sleep(1_000);
  assert.equal(election.token, undefined);
  await untilState(outsider, ({ fresh, announcements }) => !fresh && announcements.length === HOSTS.length);
  const said = lines.about('there is no session');
  assert.equal(said.length, 1, JSON.stringify(said));
  assert.equal((said[0] as { answer: string }).answer, 'NO_AUTH');
  assert.ok(!JSON.stringify(lines.lines).includes('guessed'));
  await untilState(one, freshWith(first.process, second.process));
});

test('stops within its deadline while the server is frozen, mute or away, and leaves nothing open', async (t) => {
  const place = placeOf(t);
  const proxy = await proxyOf(t);
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

test('whatever breaks, in any order: no two lead at once, tokens rise, and in the end everybody knows everybody', async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const place = placeOf(t);
  const proxies = await Promise.all(Array.from({ length: 3 }, () => proxyOf(t)));
  const registries = await Promise.all(proxies.map((proxy) => place.open(through(proxy))));
  const own = registries.map(() => announcementOf());
  await Promise.all(registries.map((registry, at) => registry.announce(own[at]!)));
  const elections = registries.map((registry) => registry.elect(OFFICE));
  const tokens: bigint[] = [];
  const look = setInterval(() => {
    const leading = elections.flatMap(({ token }) => (token === undefined ? [] : [token]));
    if (leading.length > 0 && leading[0] !== tokens.at(-1)) tokens.push(leading[0]!);
    if (leading.length > 1) failures.push(`${leading.join(' and ')} led at once`);
  }, 2);
  const failures: string[] = [];
  t.after(() => clearInterval(look));
  const breakSomething: readonly ((proxy: TcpProxy) => Promise<void> | void)[] = [
    (proxy) => proxy.cut(),
    (proxy) => proxy.cutAfter(random.whole(200)),
    (proxy) => proxy.freeze(),
    (proxy) => proxy.thaw(),
    (proxy) => proxy.thaw(),
    () => server.kill().then(() => server.up()),
  ];
  for (let round = 0; round < (LONG ? 500 : 16); round++) {
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

interface RegistryChild {
  readonly id: string;
  /** The next word that looks so. */
  until(looks: (word: RegistryChildWord) => boolean): Promise<RegistryChildWord>;
  kill(signal: NodeJS.Signals): void;
}

async function registryChild(t: Test, place: Place): Promise<RegistryChild> {
  const id = newId();
  const plan: RegistryChildPlan = { settings: place.settings(), office: OFFICE, process: id };
  const child = fork(join(import.meta.dirname, '..', 'support', 'registry-child.js'), [JSON.stringify(plan)], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const ended = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    id,
    kill: (signal) => void child.kill(signal),
    until(looks) {
      const said = new Promise<RegistryChildWord>((resolve) => {
        const listen = (word: RegistryChildWord): void => {
          if (!looks(word)) return;
          child.off('message', listen);
          resolve(word);
        };
        child.on('message', listen);
      });
      return within(15_000, said, () => 'the child never said so');
    },
  };
}

async function untilChildren(client: Client, path: string, count: number, without = /^$/): Promise<void> {
  for (const end = performance.now() + 10_000; ; await sleep(20)) {
    const names = await childrenOf(client, path).catch(() => []);
    if (names.length === count && !names.some((name) => without.test(name))) return;
    assert.ok(performance.now() < end, `${names.join(', ')} instead of ${count}, without ${without}`);
  }
}

async function until(condition: () => boolean, otherwise: string, withinMs = 10_000): Promise<void> {
  for (const end = performance.now() + withinMs; !condition(); await sleep(5)) assert.ok(performance.now() < end, otherwise);
}
