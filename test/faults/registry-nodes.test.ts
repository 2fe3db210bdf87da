import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { newId } from '../../src/kernel/ids.ts';
import { within } from '../support/buses.ts';
import { longestTurn } from '../support/longest-turn.ts';
import { announcementOf, HOSTS, untilState, untilToken } from '../support/registries.ts';
import { childrenOf, freshWith, Lines, put, removeFrom, untilChildren, zooKeeperOfFile } from '../support/zookeeper-file.ts';

const OFFICE = 'agenda';
const zookeeper = zooKeeperOfFile();

test('nodes that are no announcements are ignored, with one line in the log each, of a bounded number', async (t) => {
  const place = zookeeper.placeOf(t);
  const lines = new Lines();
  const registry = await place.open({ refreshMs: 300 }, lines.log);
  const own = announcementOf();
  await registry.announce(own);
  await untilState(registry, freshWith(own.process));
  const client = await zookeeper.stranger(t);
  const good = announcementOf({ host: 'mailer' });
  const hostile: Record<string, unknown> = {
    empty: '',
    'no JSON': '{"host":',
    'a list': '[]',
    null: 'null',
    'no address': JSON.stringify({ ...good, address: undefined }),
    'an address without a port': JSON.stringify({ ...good, address: 'mailer' }),
    'a port that there is not': JSON.stringify({ ...good, address: 'mailer:70000' }),
    'an address that is none': JSON.stringify({ ...good, address: 'mailer/7070:7070' }),
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
  const place = zookeeper.placeOf(t);
  const registry = await place.open();
  const own = announcementOf();
  await registry.announce(own);
  const election = registry.elect(OFFICE);
  const first = (await untilToken(election, true))!;
  await untilState(registry, freshWith(own.process));
  const client = await zookeeper.stranger(t);
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
  const place = zookeeper.placeOf(t);
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
  const place = zookeeper.placeOf(t);
  const registries = [await place.open(), await place.open()];
  await untilState(registries[0]!, freshWith());
  const client = await zookeeper.stranger(t);
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
  const place = zookeeper.placeOf(t);
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
