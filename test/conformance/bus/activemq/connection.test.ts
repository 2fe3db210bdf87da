import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { after, before, describe, test, type TestContext as Test } from 'node:test';
import { Connection, type Delivery } from '../../../../adapters/bus/activemq/connection.ts';
import { ActiveMqSettings } from '../../../../adapters/bus/activemq/driver.ts';
import { systemClock } from '../../../../src/kernel/clock.ts';
import { newId } from '../../../../src/kernel/ids.ts';
import { ActiveMqServer } from '../../../support/activemq.ts';
import { within } from '../../../support/buses.ts';
import { rejectsWith } from '../../../support/faults.ts';

let broker: ActiveMqServer;

async function connected(t: Test, settings: object = {}): Promise<Connection> {
  const connection = await Connection.open(ActiveMqSettings.parse({ port: broker.port, ...settings }), systemClock);
  t.after(() => connection.close());
  return connection;
}

function frame(destination: string, body: Buffer | string = 'x', headers: Record<string, string> = {}) {
  return { destination, headers, body: Buffer.from(body) };
}

/** Takes the next messages of a queue. */
function takes(connection: Connection, destination: string, count: number, options: { prefetch?: number; auto?: boolean } = {}): Promise<Delivery[]> {
  const got: Delivery[] = [];
  const { promise, resolve } = Promise.withResolvers<Delivery[]>();
  connection.subscribe(destination, { prefetch: 100, ...options }, (delivery) => {
    got.push(delivery);
    if (got.length === count) resolve(got);
  });
  return within(20_000, promise, () => `${got.length} of ${count} came`);
}

const queueName = () => `/queue/connection-${newId()}`;

/** Speaks as much STOMP as it is told to. */
async function stub(t: Test, talk: (socket: Socket, said: string) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('data', (data) => talk(socket, data.toString()));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

describe('a connection to ActiveMQ', () => {
  before(async () => void (broker = await ActiveMqServer.start({ user: { name: 'suite', password: 'a password' }, storeBytes: 48 * 1024 * 1024 })));
  after(() => broker.remove());
  const user = { username: 'suite', password: 'a password' };

  test('confirms one message after the other without waiting for Nagle', async (t) => {
    const connection = await connected(t, user);
    const times: number[] = [];
    for (let at = 0; at < 40; at++) {
      const began = performance.now();
      await connection.deliver([frame(queueName())]);
      times.push(performance.now() - began);
    }
    assert.ok(times.toSorted((a, b) => a - b)[20]! < 35, `half took ${times.toSorted((a, b) => a - b)[20]} ms`);
  });

  test('brings several messages all or none, and takes back acknowledgements with them', async (t) => {
    const [connection, queue, other] = [await connected(t, user), queueName(), queueName()];
    await connection.deliver([frame(queue, '1'), frame(queue, '2')]);
    const [first] = await takes(connection, queue, 2);
    await connection.deliver([frame(other, 'moved')], [first!]);
    connection.close();
    const again = await connected(t, user);
    assert.deepEqual((await takes(again, queue, 1)).map(({ body }) => body.toString()), ['2']);
    assert.deepEqual((await takes(again, other, 1)).map(({ body }) => body.toString()), ['moved']);
  });

  test('reads thousands with all of them given out at once', async (t) => {
    const [connection, queue] = [await connected(t, user), `/queue/connection.log.${newId()}`];
    for (let at = 0; at < 8; at++) await connection.deliver(Array.from({ length: 1_000 }, () => frame(queue, 'x'.repeat(1_000))));
    const all = await takes(connection, queue, 1_000, { prefetch: 1_000 });
    await connection.acknowledge(all);
    connection.close();
    const rest = await takes(await connected(t, user), queue, 7_000, { prefetch: 1_000, auto: true });
    assert.equal(rest.length, 7_000);
  });

  test('takes long and many headers, and bodies with NUL', async (t) => {
    const [connection, queue] = [await connected(t, user), queueName()];
    const headers = Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`h${at}`, 'v'.repeat(at === 0 ? 4_000 : 20)]));
    await connection.deliver([frame(queue, 'a\0b', headers), frame(queue, '')]);
    const [one, empty] = await takes(connection, queue, 2);
    assert.deepEqual([one!.body.toString(), one!.headers.h0, one!.headers.h99, empty!.body.length], ['a\0b', headers.h0, headers.h99, 0]);
  });

  test('takes headers by whatever name somebody sends them', async (t) => {
    const [connection, queue] = [await connected(t, user), queueName()];
    const socket = connect(broker.port, '127.0.0.1');
    t.after(() => socket.destroy());
    // By hand: stompit escapes names, and the broker passes them on as they are.
    socket.write(`CONNECT\naccept-version:1.2\nhost:localhost\nlogin:suite\npasscode:a password\n\n\0SEND\ndestination:${queue}\nhasOwnProperty:1\n__proto__:2\na\\b:3\nkey:\\c\\\\\n\n\0`);
    const [{ headers }] = (await takes(connection, queue, 1)) as [Delivery];
    assert.deepEqual([headers['a\\b'], headers.key], ['3', ':\\']);
  });

  test('an error of the broker ends it and everything under way, as lost; afterwards nothing is sent', async (t) => {
    const connection = await connected(t, user);
    const waiting = connection.deliver([frame(queueName())]);
    const poisoned = connection.deliver([frame(queueName(), 'x', { big: 'x'.repeat(200_000) })]);
    const outcomes = await within(15_000, Promise.allSettled([waiting, poisoned]), () => 'a wait never ended');
    assert.equal(outcomes[1].status === 'rejected' && outcomes[1].reason.origin, 'lost');
    assert.equal(connection.open, false);
    assert.equal((await rejectsWith('unavailable', connection.deliver([frame(queueName())]), 'broker_away')).origin, 'unsent');
  });

  test('refuses to acknowledge what came by another one, which would end it', async (t) => {
    const [one, two, queue] = [await connected(t, user), await connected(t, user), queueName()];
    await one.deliver([frame(queue)]);
    const [delivery] = await takes(one, queue, 1);
    one.close();
    await rejectsWith('internal', two.acknowledge([delivery!]));
    assert.equal(two.open, true);
    assert.equal((await takes(two, queue, 1)).length, 1);
  });

  test('says that it is refused, without the password', async (t) => {
    const fault = await rejectsWith('unavailable', connected(t, { username: 'suite', password: 'a wrong one' }), 'broker_refused');
    assert.ok(!JSON.stringify(fault).includes('a wrong one'));
    await rejectsWith('unavailable', connected(t, {}), 'broker_refused');
  });

  test('a full store is told as `exhausted`, and others may be read to make room', async (t) => {
    const [connection, queue] = [await connected(t, user), queueName()];
    const filled = (async () => {
      for (let at = 0; at < 200; at++) await connection.deliver([frame(queue, 'x'.repeat(1_000_000))]);
    })();
    const fault = await rejectsWith('exhausted', within(60_000, filled, () => 'the sender waited without a word'), 'disk_full');
    assert.ok(Number(fault.details.retryAfterMs) > 0);
    const reader = await connected(t, user);
    assert.equal((await takes(reader, queue, 5, { auto: true })).length >= 5, true);
  });

  test('nobody there, or nobody who speaks, is found out in time', async (t) => {
    await rejectsWith('unavailable', connected(t, { port: 1 }), 'broker_away');
    const mute = await stub(t, () => {});
    const began = performance.now();
    await rejectsWith('unavailable', connected(t, { port: mute, connectTimeoutMs: 200 }), 'broker_away');
    assert.ok(performance.now() - began < 3_000);
  });

  test('a receipt that never comes ends it in time', async (t) => {
    const port = await stub(t, (socket, said) => void (said.startsWith('CONNECT') && socket.write('CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0')));
    const connection = await connected(t, { port, answerTimeoutMs: 100 });
    const fault = await rejectsWith('unavailable', within(5_000, connection.deliver([frame('/queue/x')]), () => 'waited for ever'));
    assert.deepEqual([fault.origin, connection.open], ['lost', false]);
  });

  test('cut in the middle of a frame is a loss, and nothing of the half is given out', async (t) => {
    const port = await stub(t, (socket, said) => {
      if (said.startsWith('CONNECT')) socket.write('CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0');
      if (said.includes('SUBSCRIBE')) socket.end('MESSAGE\nsubscription:1\nmessage-id:1\nack:1\ndestination:/queue/x\ncontent-length:100\n\nhalf');
    });
    const connection = await connected(t, { port });
    let given = 0;
    connection.subscribe('/queue/x', { prefetch: 1 }, () => given++);
    await within(5_000, connection.lost, () => 'the loss was not noticed');
    assert.equal(given, 0);
  });

  test('a broker that stops beating is noticed', async (t) => {
    const connection = await connected(t, { ...user, heartbeatMs: 1_000 });
    broker.freeze();
    try {
      await within(20_000, connection.lost, () => 'the silence was not noticed');
    } finally {
      broker.thaw();
    }
  });
});
