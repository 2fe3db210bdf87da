import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server as Listener, type Socket } from 'node:net';
import { join } from 'node:path';
import { streamTransports } from '../../adapters/transport/catalog.ts';
import { type BusAccess, busContract } from '../../src/fabric/bus-contract.ts';
import { BusService } from '../../src/fabric/bus-service.ts';
import { Edge } from '../../src/fabric/edge.ts';
import { bindRemote } from '../../src/fabric/remote.ts';
import { RemoteBus } from '../../src/fabric/remote-bus.ts';
import { Replicas } from '../../src/fabric/replicas.ts';
import { offerOf, Serving } from '../../src/fabric/serve.ts';
import { Target } from '../../src/fabric/target.ts';
import { newId } from '../../src/kernel/ids.ts';
import { StartStop } from '../../src/kernel/lifecycle.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import type { Bus } from '../../src/ports/bus.ts';
import type { Identity, PeerAddress, Server } from '../../src/ports/transport.ts';
import type { TestContext } from './context.ts';

export type TransportName = keyof typeof streamTransports;
type Place = PeerAddress['at'];

/** The bus of one process, served to others at a place: from start to stop, or until it is cut off. */
export class ServedBus {
  readonly bus: Bus;
  readonly sockets = new Set<Socket>();
  readonly service: BusService;
  readonly #transport: TransportName;
  readonly #log: Log;
  #at: Place;
  #listener: Listener | undefined;
  #server: Server<any> | undefined;

  constructor(bus: Bus, { clock, log }: TestContext, at: Place, transport: TransportName = 'rpc', silentMs?: number) {
    this.bus = bus;
    this.#at = at;
    this.#transport = transport;
    this.#log = log;
    this.service = new BusService({ bus, clock, log, ...(silentMs === undefined ? {} : { silentMs }) });
  }

  get at(): Place {
    return this.#at;
  }

  async start(): Promise<void> {
    await this.bus.start();
    const target = new Target(busContract);
    target.serve(this.service);
    const serving = new Serving([target], this.#log);
    const identity: Identity = { introduction: { host: 'keeper', process: newId(), contracts: { bus: busContract.hash } }, offers: [offerOf(busContract)], secret: null };
    this.#server = streamTransports[this.#transport].serve(identity, serving);
    this.#listener = createServer((socket) => {
      this.sockets.add(socket);
      socket.on('error', () => {}).on('close', () => this.sockets.delete(socket));
      this.#server!.accept(socket);
    });
    if ('socketPath' in this.#at) rmSync(this.#at.socketPath, { force: true });
    await once('socketPath' in this.#at ? this.#listener.listen(this.#at.socketPath) : this.#listener.listen(this.#at.port, this.#at.host), 'listening');
    if ('port' in this.#at) this.#at = { ...this.#at, port: (this.#listener.address() as AddressInfo).port };
  }

  /** As a host stops. */
  async stop(deadlineMs: number): Promise<void> {
    await this.service.stop(deadlineMs * 0.5);
    await this.bus.stop(deadlineMs * 0.5);
    this.#listener?.close();
    await this.#server?.stop(100);
    for (const socket of this.sockets) socket.destroy();
  }
}

/** A bus in this process whose messages are kept at another place. */
export function remoteBusAt(at: Place, { clock, log }: Pick<TestContext, 'clock' | 'log'>, transport: TransportName = 'rpc'): Bus {
  const identity: Identity = { introduction: { host: 'caller', process: newId(), contracts: {} }, offers: [], secret: null };
  const replicas = new Replicas({ host: 'keeper', contracts: [busContract], newLink: () => streamTransports[transport].link(identity, { at }), log });
  const links = new StartStop(() => replicas.update(['there']), (deadlineMs) => replicas.stop(deadlineMs));
  return new RemoteBus({ stub: bindRemote<BusAccess>(busContract, replicas, new Edge()), clock, log, links });
}

/** The same as seen by one process that holds both ends, so that it can be restarted and killed as one. */
export function linkedBus(bus: Bus, place: TestContext, transport: TransportName = 'rpc'): Bus {
  const at = { socketPath: join(place.dataDir, 'bus.sock') };
  const served = new ServedBus(bus, place, at, transport);
  const remote = remoteBusAt(at, place, transport);
  return through(
    remote,
    new StartStop(
      async () => {
        await served.start();
        await remote.start();
      },
      async (deadlineMs) => {
        await remote.stop(deadlineMs * 0.8);
        await served.stop(deadlineMs * 0.2);
      },
    ),
  );
}

/** A bus that starts and stops in another way. */
export function through(bus: Bus, life: StartStop): Bus {
  return {
    capabilities: bus.capabilities,
    start: () => life.start(),
    stop: (deadlineMs) => life.stop(deadlineMs),
    declare: (settings) => bus.declare(settings),
    publish: (messages) => bus.publish(messages),
    consume: (queue, options, handler) => bus.consume(queue, options, handler),
    inspect: (which) => bus.inspect(which),
    browse: (queue, which) => bus.browse(queue, which),
    pause: (queue, workspace) => bus.pause(queue, workspace),
    resume: (queue, workspace) => bus.resume(queue, workspace),
    requeue: (queue, which) => bus.requeue(queue, which),
    purge: (queue, which) => bus.purge(queue, which),
    watch: (topics, listener) => bus.watch(topics, listener),
  };
}
