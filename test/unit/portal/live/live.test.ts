import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { deliveryUpdated } from '../../../../modules/notification/contract.ts';
import { eventRecorded, personChanged } from '../../../../modules/portal/contract.ts';
import { Live } from '../../../../modules/portal/live/live.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { Listeners } from '../../../../src/ports/listeners.ts';
import { noMetrics, silentLog } from '../../../support/context.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

/** As every bus tells who watches it. */
let listeners: Listeners;
let clock: FakeClock;
let live: Live;
let server: Server;
let mayListen = true;
const updated = { deliveryId: 'd', personId: 'p', templateId: 't', channel: 'email', state: 'sent', reason: null, source: { kind: 'automation', id: 's' }, time: 0 };
const change = { deliveryId: 'd', personId: 'p', templateId: 't', sourceId: 's', state: 'sent', reason: null };

before(async () => {
  server = createServer((request, response) => {
    try {
      live.listen({ workspace: request.url!.slice(1), response, mayListen: async () => mayListen });
    } catch (thrown) {
      response.writeHead(503).end((thrown as Fault).reason);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
after(() => server.close());
beforeEach(async () => {
  clock = new FakeClock();
  listeners = new Listeners(silentLog);
  live = new Live({ capabilities: { spansHosts: false }, watch: (topics, listener) => listeners.add(topics, listener) }, clock, silentLog, noMetrics);
  mayListen = true;
  await live.start();
});
afterEach(async () => {
  await live.stop(100);
  server.closeAllConnections();
});

const portOf = () => (server.address() as AddressInfo).port;

const people = (workspace: string) => listeners.message(personChanged.name, workspace, '{}');
const events = (workspace: string) => listeners.message(eventRecorded.name, workspace, '{}');
const delivery = (workspace: string, payload: object = updated) => listeners.message(deliveryUpdated.name, workspace, JSON.stringify(payload));

/** A listener that collects what it is told. */
async function listen(workspace: string): Promise<{ response: IncomingMessage; until(pattern: RegExp): Promise<RegExpExecArray>; text(): string }> {
  const request = get({ host: '127.0.0.1', port: portOf(), path: `/${workspace}`, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  request.on('error', () => {});
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk)).on('error', () => {});
  return {
    response,
    text: () => text,
    async until(pattern) {
      for (;;) {
        const found = pattern.exec(text);
        if (found) return found;
        await once(response, 'data');
      }
    },
  };
}

test('changes are gathered and told to their own workspace only', async () => {
  const [one, two] = [await listen('one'), await listen('two')];
  assert.equal(one.response.headers['content-type'], 'text/event-stream; charset=utf-8');
  await one.until(/event: hello/);
  for (let i = 0; i < 3; i++) {
    people('one');
    events('one');
    events('nobody-listens');
  }
  delivery('one');
  await clock.advance(249);
  assert.ok(!one.text().includes('changes'));
  await clock.advance(1);
  const [, data] = await one.until(/event: changes\ndata: (.*)\n\n/);
  assert.deepEqual(JSON.parse(data!), { people: 3, events: 3, deliveries: [change], moreDeliveries: 0 });
  people('two');
  await clock.advance(250);
  await two.until(/"people":1,"events":0/);
  assert.equal(one.text().match(/event: changes/g)!.length, 1);
});

test('a blast is counted where it is too much to tell', async () => {
  const one = await listen('one');
  for (let i = 0; i < 5_000; i++) delivery('one');
  await clock.advance(250);
  const [, data] = await one.until(/event: changes\ndata: (.*)\n\n/);
  const told = JSON.parse(data!) as { deliveries: unknown[]; moreDeliveries: number };
  assert.deepEqual([told.deliveries.length, told.moreDeliveries], [100, 4_900]);
});

test('whoever listens is told to look again when hints may have been missed', async () => {
  const one = await listen('one');
  listeners.gap();
  await clock.advance(250);
  await one.until(/"people":1,"events":1,"deliveries":\[\],"moreDeliveries":1/);
});

test('events are asked for only while somebody listens', async () => {
  assert.deepEqual(listeners.topics, []);
  const one = await listen('one');
  await one.until(/event: hello/);
  assert.equal(listeners.topics.length, 3);
  const closed = once(one.response, 'end');
  await live.stop(100);
  await closed;
  assert.deepEqual(listeners.topics, []);
});

test('a heartbeat keeps the stream open; who may not listen any more is cut off', async () => {
  const one = await listen('one');
  await clock.advance(15_000);
  await one.until(/: still here/);
  mayListen = false;
  const ended = once(one.response, 'end');
  await clock.advance(15_000);
  await ended;
  assert.equal(clock.pending, 1);
  await clock.advance(15_000);
  assert.equal(clock.pending, 0, 'no timer without listeners');
});

test('a client that does not read is dropped before it takes memory', async () => {
  const socket = connect(portOf(), '127.0.0.1');
  socket.on('error', () => {});
  const arrived = once(server, 'request') as Promise<[unknown, ServerResponse]>;
  socket.write('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n');
  const [, response] = await arrived;
  socket.pause();
  const closed = once(response, 'close');
  const large = { ...updated, personId: 'p'.repeat(2_000) };
  let rounds = 0;
  for (; rounds < 1_000 && !response.destroyed; rounds++) {
    for (let i = 0; i < 100; i++) delivery('slow', large);
    await clock.advance(250);
  }
  await closed;
  assert.ok(rounds < 1_000, 'the kernel\'s buffers hold some megabytes, ours a quarter of one');
  socket.destroy();
});

test('streams are bounded per workspace', async () => {
  const open = await Promise.all(Array.from({ length: 100 }, () => listen('full')));
  const [refused] = (await once(get({ host: '127.0.0.1', port: portOf(), path: '/full', agent: false }), 'response')) as [IncomingMessage];
  assert.equal(refused.statusCode, 503);
  open[0]!.response.destroy();
  await listen('other');
});

test('stopping ends every stream and takes no new one', async () => {
  const one = await listen('one');
  const ended = once(one.response, 'end');
  await live.stop(100);
  await ended;
  assert.equal(clock.pending, 0);
  const [refused] = (await once(get({ host: '127.0.0.1', port: portOf(), path: '/one', agent: false }), 'response')) as [IncomingMessage];
  assert.equal(refused.statusCode, 503);
});
