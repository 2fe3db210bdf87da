import { once } from 'node:events';
import { createServer } from 'node:net';
import { ServiceBroker } from 'moleculer';
import { caller, server } from './rpc-drive.mjs';

/** Both ends listen, on ports that the other knows: no discovery by broadcast. */
const brokerOf = (nodeID, port, others) => new ServiceBroker({ nodeID, logger: false, transporter: { type: 'TCP', options: { udpDiscovery: false, port, urls: others } } });

async function freePort() {
  const listener = createServer();
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}

await server(async () => {
  const ports = { server: await freePort(), caller: await freePort() };
  const broker = brokerOf('server', ports.server, [`127.0.0.1:${ports.caller}/caller`]);
  broker.createService({ name: 'bench', actions: { echo: async (context) => context.params } });
  await broker.start();
  return ports;
});

await caller(import.meta.url, async (ports) => {
  const broker = brokerOf('caller', ports.caller, [`127.0.0.1:${ports.server}/server`]);
  await broker.start();
  await broker.waitForServices('bench', 30_000);
  return (value) => broker.call('bench.echo', value);
});
