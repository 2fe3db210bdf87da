import { ServiceBroker } from 'moleculer';
import { report } from './drive.mjs';

const CALLS = 300_000;
const ROUNDS = 5;
const broker = new ServiceBroker({ logger: false });
const echo = async (request) => request;
broker.createService({ name: 'bench', actions: { echo: (context) => echo(context.params) } });
await broker.start();
const request = { text: 'x'.repeat(1_000) };
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
async function nsPerCall(call) {
  const began = performance.now();
  for (let i = 0; i < CALLS; i++) await call(request);
  return ((performance.now() - began) * 1e6) / CALLS;
}
const bare = [];
const local = [];
for (let round = 0; round < ROUNDS; round++) {
  bare.push(await nsPerCall(echo));
  local.push(await nsPerCall((params) => broker.call('bench.echo', params)));
}
report({ over: median(local) - median(bare) });
