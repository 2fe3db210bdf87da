import { LRUCache } from 'lru-cache';
import { localCacheDrivers } from '../../adapters/cache/catalog.ts';
import { type Notification, notification } from '../../modules/notification/contract.ts';
import { cached } from '../../src/fabric/cached.ts';
import { Call } from '../../src/kernel/call.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { createMetrics } from '../../src/app/host/metrics.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import { peer } from './peers.ts';
import type { BenchRow } from './report.ts';

const CALLS = 300_000;
const ROUNDS = 7;
const WORKSPACE = '0190a1b2-3c4d-7e5f-8a6b-0123456789ab';
const ID_LENGTH = 36;
const ids = Buffer.from(Array.from({ length: 1_000 }, (_, at) => `0190a1b2-3c4d-7e5f-8a6b-${String(at).padStart(12, '0')}`).join(''));
/** A new string for each call, as one that came in with a request: a string that was looked up before has its hash already. */
const idOf = (at: number): string => ids.toString('latin1', (at % 1_000) * ID_LENGTH, ((at % 1_000) + 1) * ID_LENGTH);

/** `notification.track` from memory, with metrics as the host has them, against a bare get from lru-cache, in turns. */
export async function benchCache(): Promise<BenchRow[]> {
  const bare = new LRUCache<string, object>({ max: 50_000 });
  for (let at = 0; at < 1_000; at++) bare.set(idOf(at), { deliveryId: idOf(at) });
  const get = async (id: string): Promise<unknown> => bare.get(id);
  const stub = cachedNotification();
  const call = new Call({ workspace: WORKSPACE, actor: { kind: 'system', id: 'bench' }, deadline: Date.now() + 600_000 });
  const making: number[] = [];
  const bareNs: number[] = [];
  const hitNs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    making.push(await nsPerCall(async (id) => id));
    bareNs.push(await nsPerCall(get));
    hitNs.push(await nsPerCall((deliveryId) => stub.track({ deliveryId }, call)));
  }
  const moleculer = await peer<{ ns: number }>('moleculer-cache');
  const own = median(making);
  const limit = median(bareNs) - own;
  return [
    { name: 'cache.bare-lru-get', value: limit, unit: 'ns' },
    { name: 'cache.hit', value: median(hitNs) - own, unit: 'ns', aim: 1_000, better: 'lower', limit, note: 'deadline, workspace, age, request compared, counted' },
    { name: 'cache.peer.moleculer.cached-local-call', value: moleculer.ns, unit: 'ns', note: 'memory-lru cacher, keys: [id]' },
  ];
}

function cachedNotification(): Notification {
  const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
  const track = async ({ deliveryId }: { deliveryId: string }): Promise<unknown> => ({ deliveryId, state: 'sent' });
  const local = localCacheDrivers.lru.create(localCacheDrivers.lru.settings.parse({}), { clock: systemClock, log: silent, metrics: createMetrics(), dataDir: '' });
  return cached(notification, { track } as unknown as Notification, { local, clock: systemClock, metrics: createMetrics(), log: silent }).stub;
}

async function nsPerCall(ask: (id: string) => Promise<unknown>): Promise<number> {
  const began = performance.now();
  for (let at = 0; at < CALLS; at++) await ask(idOf(at));
  return ((performance.now() - began) * 1e6) / CALLS;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
