import { describe, type TestContext as Test } from 'node:test';
import { sharedCacheDrivers } from '../../adapters/cache/catalog.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import type { SharedCache } from '../../src/ports/cache.ts';
import { testContext } from './context.ts';
import { memcachedServer } from './memcached.ts';
import { redisServer } from './redis.ts';
import type { ServerProcess } from './server-process.ts';

export type SharedCacheName = keyof typeof sharedCacheDrivers;

/** How each driver gets a server to talk to; a driver in the catalog without its line here is a compile error. */
const SERVERS: Readonly<Record<SharedCacheName, { server: () => Promise<ServerProcess>; at: (port: number) => object }>> = {
  memcached: { server: memcachedServer, at: (port) => ({ servers: [`127.0.0.1:${port}`] }) },
  redis: { server: () => redisServer(), at: (port) => ({ port }) },
};

export interface SharedCacheUnderTest {
  readonly driver: SharedCacheName;
  /** Running; killed after the test. */
  server(t: Test): Promise<ServerProcess>;
  /** Not started; stopped after the test. */
  create(t: Test, port: number, settings?: object, log?: Log): SharedCache;
  /** Started. */
  open(t: Test, port: number, settings?: object, log?: Log): Promise<SharedCache>;
}

/** Runs a suite once for every driver of the catalog. */
export function onEachSharedCache(title: string, suite: (under: SharedCacheUnderTest) => void): void {
  for (const driver of Object.keys(sharedCacheDrivers) as SharedCacheName[]) {
    describe(`${title}: ${driver}`, () => suite(sharedCacheUnderTest(driver)));
  }
}

export function sharedCacheUnderTest(driver: SharedCacheName): SharedCacheUnderTest {
  const under: SharedCacheUnderTest = {
    driver,
    async server(t) {
      const server = await SERVERS[driver].server();
      t.after(() => server.kill());
      return server.start();
    },
    create(t, port, settings = {}, log) {
      const context = testContext(log === undefined ? {} : { log });
      // Long enough for a busy test machine; what is tested of time-outs says its own.
      const given = { timeoutMs: 1_000, ...SERVERS[driver].at(port), ...settings };
      const cache = createSharedCache(driver, given, context);
      const awake = setInterval(() => {}, 60_000);
      t.after(async () => {
        await cache.stop(1_000);
        clearInterval(awake);
        context.remove();
      });
      return cache;
    },
    async open(t, port, settings, log) {
      const cache = under.create(t, port, settings, log);
      await cache.start();
      return cache;
    },
  };
  return under;
}

function createSharedCache(driver: SharedCacheName, settings: object, context: ReturnType<typeof testContext>): SharedCache {
  const { settings: schema, create } = sharedCacheDrivers[driver] as { settings: { parse(value: unknown): any }; create(settings: any, context: any): SharedCache };
  return create(schema.parse(settings), context);
}

/** Waits for what only the passing of time brings about. */
export async function until(holds: () => boolean, withinMs = 30_000): Promise<void> {
  for (const deadline = Date.now() + withinMs; !holds(); ) {
    if (Date.now() > deadline) throw new Error(`did not come to hold within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
