import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { streamTransports } from '../../../../adapters/transport/catalog.ts';
import { type Config, requireConfig } from '../../../../src/app/config/config.ts';
import { createRegistry } from '../../../../src/app/host/drivers.ts';
import { Network } from '../../../../src/app/host/network.ts';
import { parts } from '../../../../src/app/parts.ts';
import { ask } from '../../../../src/fabric/ask.ts';
import { offerOf, Serving } from '../../../../src/fabric/serve.ts';
import { Target } from '../../../../src/fabric/target.ts';
import { systemCall } from '../../../../src/kernel/call.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { hostDesk, type HostStatus } from '../../../../src/kernel/system.ts';
import type { Identity, Link } from '../../../../src/ports/transport.ts';
import { silentLog, testContext } from '../../../support/context.ts';
import { freePort } from '../../../support/server-process.ts';

const context = testContext();
after(() => context.remove());

const status: HostStatus = { host: 'mailer', process: 'm', address: null, installation: 'i', phase: 'ready', uptimeSeconds: 1, memoryMb: 1, modules: [], edges: [], queues: null, problems: [] };
const offer = offerOf(hostDesk);
const identityOf = (host: string, process: string): Identity => ({ introduction: { host, process, contracts: { [offer.name]: offer.hash } }, offers: [offer], secret: null });

/** How app sees mailer, of which it calls nothing but how it is doing. */
function networkTo(port: number): { network: Network; config: Config } {
  const sets = ['hosts={app: {modules: [portal, trigger], listen: "127.0.0.1:1"}, mailer: {modules: [notification], listen: "127.0.0.1:' + port + '"}}', 'bus={driver: embedded, host: app}'];
  const { config } = requireConfig({ sets, env: {}, cwd: context.dataDir }, parts);
  const hosts = [{ host: 'mailer', addresses: [`127.0.0.1:${port}`] }];
  const registry = createRegistry(config.registry, parts, { ...context, hosts, host: 'app', replicas: 1 });
  return { network: new Network({ config, host: 'app', modules: [], identity: identityOf('app', 'a'), registry, transports: streamTransports, parts, context }), config };
}

/** A mailer that answers how it is doing as `answer` says. */
async function mailer(answer: () => Promise<HostStatus>): Promise<{ port: number; close(): Promise<void> }> {
  const target = new Target(hostDesk);
  target.serve({ status: answer });
  const server = streamTransports.rpc.serve(identityOf('mailer', 'm'), new Serving([target], silentLog));
  const listener = createServer((socket: Socket) => server.accept(socket)).listen(0, '127.0.0.1');
  await new Promise((resolve) => listener.once('listening', resolve));
  return {
    port: (listener.address() as { port: number }).port,
    async close() {
      await server.stop(0);
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}

async function connected(network: Network): Promise<Link> {
  for (;;) {
    const { reached } = network.processes()[0]!;
    if (!Fault.is(reached)) return reached;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const question = (timeoutMs: number) => ({ contract: hostDesk.name, method: 'status', request: {}, timeoutMs });
const call = () => systemCall('test', null, Date.now() + 10_000);

test('a host that is only asked how it is doing holds up nobody, and is listed with its address and the reason', async () => {
  const port = await freePort();
  const { network } = networkTo(port);
  const startedAt = performance.now();
  try {
    await network.start();
    assert.ok(performance.now() - startedAt < 5_000, 'the start waited for it');
    assert.deepEqual(network.problems(), []);
    const [only, ...more] = network.processes();
    assert.deepEqual([only!.host, only!.address, Fault.is(only!.reached), more.length], ['mailer', `127.0.0.1:${port}`, true, 0]);
  } finally {
    await network.stop(0);
  }
});

test('a process that is there is asked itself, and one that does not answer is given up in time', async () => {
  const silent = Promise.withResolvers<HostStatus>();
  let answer: () => Promise<HostStatus> = async () => status;
  const peer = await mailer(() => answer());
  const { network } = networkTo(peer.port);
  try {
    await network.start();
    const link = await connected(network);
    assert.deepEqual(await ask(link, question(5_000), call()), status);
    answer = () => silent.promise;
    const startedAt = performance.now();
    await assert.rejects(ask(link, question(100), call()), (thrown) => Fault.is(thrown) && thrown.code === 'deadline');
    assert.ok(performance.now() - startedAt < 2_000);
  } finally {
    silent.resolve(status);
    await network.stop(0);
    await peer.close();
  }
});
