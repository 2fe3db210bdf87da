import { ServiceBroker } from 'moleculer';
import { report } from './drive.mjs';

const CALLS = 100_000;
const ROUNDS = 5;
const ids = Buffer.from(Array.from({ length: 1_000 }, (_, at) => `0190a1b2-3c4d-7e5f-8a6b-${String(at).padStart(12, '0')}`).join(''));
const idOf = (at) => ids.toString('latin1', (at % 1_000) * 36, ((at % 1_000) + 1) * 36);
const broker = new ServiceBroker({ logger: false, cacher: { type: 'MemoryLRU', options: { max: 50_000, ttl: 60, clone: false } } });
broker.createService({
  name: 'bench',
  actions: { track: { cache: { keys: ['deliveryId'] }, handler: async ({ params: { deliveryId } }) => ({ deliveryId, state: 'sent' }) } },
});
await broker.start();
async function nsPerCall(ask) {
  const began = performance.now();
  for (let at = 0; at < CALLS; at++) await ask(idOf(at));
  return ((performance.now() - began) * 1e6) / CALLS;
}
const cached = [];
for (let round = 0; round < ROUNDS; round++) {
  const making = await nsPerCall(async (id) => id);
  cached.push((await nsPerCall((deliveryId) => broker.call('bench.track', { deliveryId }))) - making);
}
report({ ns: cached.sort((a, b) => a - b)[ROUNDS >> 1] });
