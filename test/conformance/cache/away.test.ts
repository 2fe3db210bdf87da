import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describe, it, type TestContext as Test } from 'node:test';
import type { Log } from '../../../src/kernel/telemetry.ts';
import { freePort } from '../../support/server-process.ts';
import { onEachSharedCache, type SharedCacheName, until } from '../../support/shared-caches.ts';

const MINUTE_MS = 60_000;
const TIMEOUT_MS = 100;
/** What a busy machine may add. */
const SLACK_MS = 2_000;
const fast = { timeoutMs: TIMEOUT_MS, restMs: 200 };

/** How a server answers the greeting. */
const ANSWERED: Readonly<Record<SharedCacheName, (greeting: Buffer) => Buffer>> = {
  memcached: (greeting) => Buffer.concat([Buffer.from([0x81, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), greeting.subarray(12, 16), Buffer.alloc(8)]),
  redis: () => Buffer.from('+PONG\r\n'),
};
/** The beginning of four gigabytes, in both languages. */
const ANNOUNCED = Buffer.concat([Buffer.from('$4294967295\r\n'), Buffer.alloc(2 * 2 ** 20, 0xff)]);

async function took(work: Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work;
  return performance.now() - began;
}

/** A server of strangers: what it does with each connection is up to the test. */
async function stranger(t: Test, meet: (socket: Socket) => void): Promise<{ port: number; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}).on('close', () => sockets.delete(socket)));
    meet(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}

onEachSharedCache('a shared cache whose server is away', (under) => {
  it('costs one time-out when the server freezes, nothing after that, and answers again when it thaws', async (t) => {
    const server = await under.server(t);
    const cache = await under.open(t, server.port, fast);
    await cache.set('k', 'v', MINUTE_MS);
    server.freeze();
    const firstMs = await took(Promise.all(Array.from({ length: 100 }, () => cache.get('k'))));
    assert.ok(firstMs >= TIMEOUT_MS / 2 && firstMs < TIMEOUT_MS + SLACK_MS, `${firstMs} ms`);
    assert.equal(cache.reachable, false);
    // Long enough for it to be tried again, in vain, several times.
    for (const end = Date.now() + 1_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 5))) {
      const later = Promise.all([cache.get('k'), cache.set('k', 'w', MINUTE_MS), cache.add('k', 'w', MINUTE_MS)]);
      const waited = await Promise.race([later.then(() => false), new Promise((resolve) => setImmediate(resolve, true))]);
      assert.equal(waited, false, 'it waited for the server');
    }
    server.thaw();
    await until(() => cache.reachable);
    assert.equal(await cache.get('k'), 'v');
  });

  it('goes on without a server that is killed, and with it when it is back', async (t) => {
    const server = await under.server(t);
    const cache = await under.open(t, server.port, fast);
    await cache.set('k', 'v', MINUTE_MS);
    await server.kill();
    assert.equal(await cache.get('k'), undefined);
    await until(() => !cache.reachable);
    await server.start();
    await until(() => cache.reachable);
    await cache.set('k', 'w', MINUTE_MS);
    assert.equal(await cache.get('k'), 'w');
  });

  it('starts without a server, and finds it when it comes', async (t) => {
    const server = await under.server(t);
    await server.kill();
    const cache = under.create(t, server.port, fast);
    assert.ok((await took(cache.start())) < SLACK_MS);
    assert.deepEqual([cache.reachable, await cache.get('k')], [false, undefined]);
    await server.start();
    await until(() => cache.reachable);
  });

  it('starts, and stops, beside a server that is frozen', async (t) => {
    const server = await under.server(t);
    server.freeze();
    const cache = under.create(t, server.port, fast);
    const startMs = await took(cache.start());
    assert.ok(startMs < SLACK_MS, `${startMs} ms`);
    assert.equal(cache.reachable, false);
    assert.ok((await took(cache.stop(20_000))) < SLACK_MS);
  });

  it('says once that it goes on without, once that it is back, and nothing of keys and values', async (t) => {
    const lines: string[] = [];
    const note = (level: string) => (fields: object, message: string) => void lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
    const log: Log = { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error'), child: () => log };
    const server = await under.server(t);
    const cache = await under.open(t, server.port, fast, log);
    await server.kill();
    for (let i = 0; i < 50; i++) await cache.set('key-of-somebody', 'value-of-somebody', MINUTE_MS);
    await new Promise((resolve) => setTimeout(resolve, 700));
    await server.start();
    await until(() => cache.reachable);
    assert.deepEqual(lines.map((line) => line.split(' ')[0]), ['warn', 'info'], lines.join('\n'));
    assert.doesNotMatch(lines.join('\n'), /somebody/);
  });

  const strangers: Readonly<Record<string, (socket: Socket) => void>> = {
    'accepts and says nothing': (socket) => void socket.resume(),
    'speaks HTTP': (socket) => void socket.on('data', () => socket.write('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')),
    'answers with zeros': (socket) => void socket.on('data', () => socket.write(Buffer.alloc(4_096))),
    'answers with noise': (socket) => void socket.on('data', () => socket.write(Buffer.from(Array.from({ length: 4_096 }, (_, at) => (at * 7_919 + 13) & 0xff)))),
    'announces four gigabytes': (socket) => void socket.on('data', () => socket.write(Buffer.concat([Buffer.from([0x81, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), Buffer.alloc(12), Buffer.from('$4294967295\r\n')]))),
    'talks without end before it is asked': (socket) => {
      const talk = (): void => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536, 0x2b)));
      };
      socket.on('drain', talk);
      talk();
    },
    'hangs up at once': (socket) => socket.destroy(),
    'hangs up when asked': (socket) => void socket.on('data', () => socket.destroy()),
  };
  // They mostly wait, and so side by side.
  describe('and a stranger is there', { concurrency: true }, () => {
    for (const [does, meet] of Object.entries(strangers)) {
      it(`counts as a miss what ${does}`, async (t) => {
        const { port, sockets } = await stranger(t, meet);
        const before = process.memoryUsage().rss;
        const cache = await under.open(t, port, fast);
        for (const end = Date.now() + 1_200; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 10))) {
          const ms = await took(Promise.all([cache.get('k'), cache.set('k', 'v', MINUTE_MS)]));
          assert.ok(ms < TIMEOUT_MS + SLACK_MS, `${ms} ms`);
          assert.equal(await cache.get('k'), undefined);
        }
        assert.ok(sockets.size <= 2, `${sockets.size} connections are open`);
        assert.ok(process.memoryUsage().rss - before < 300 * 2 ** 20, 'memory has grown');
        await cache.stop(1_000);
        await until(() => sockets.size === 0);
      });
    }
  });

  it('lets go of a server that greets and then talks without being asked', async (t) => {
    const { port, sockets } = await stranger(t, (socket) => {
      socket.once('data', (greeting) => {
        socket.write(ANSWERED[under.driver](greeting));
        setTimeout(() => socket.write(ANNOUNCED), 50);
        socket.on('drain', () => socket.write(Buffer.alloc(65_536)));
      });
    });
    const cache = await under.open(t, port, { ...fast, restMs: 60_000 });
    assert.equal(cache.reachable, true);
    await until(() => sockets.size === 0, 2_000);
    assert.equal(cache.reachable, false);
  });

  it('does not believe the rest of an answer that was cut short', async (t) => {
    const server = await under.server(t);
    const cache = await under.open(t, server.port, fast);
    await cache.set('k', 'v'.repeat(300_000), MINUTE_MS);
    await cache.set('other', 'right', MINUTE_MS);
    const asked = cache.get('k');
    await new Promise((resolve) => setImmediate(resolve));
    await server.kill();
    await asked;
    await server.start();
    await until(() => cache.reachable);
    await cache.set('other', 'right', MINUTE_MS);
    assert.equal(await cache.get('other'), 'right');
  });

  it('does not take its own busy moment for a frozen server', async (t) => {
    const server = await under.server(t);
    const cache = await under.open(t, server.port, fast);
    await cache.set('k', 'v', MINUTE_MS);
    const asked = cache.get('k');
    for (const end = performance.now() + 3 * TIMEOUT_MS; performance.now() < end; );
    assert.equal(await asked, 'v');
    assert.equal(cache.reachable, true);
  });

  it('leaves nothing open when nobody listens at all', async (t) => {
    const cache = await under.open(t, await freePort(), fast);
    assert.equal(await cache.get('k'), undefined);
    await cache.stop(1_000);
  });
});
