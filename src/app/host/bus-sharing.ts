import type { Clock } from '../../kernel/clock.ts';
import { newId } from '../../kernel/ids.ts';
import { StartStop } from '../../kernel/lifecycle.ts';
import type { Log } from '../../kernel/telemetry.ts';
import type { BusSharing } from '../../ports/bus-sharing.ts';
import type { Identity } from '../../ports/transport.ts';

const KEEPER = 'keeper';
/** Through a broker that is busy. */
const WAY_MS = 500;

/**
 * Processes that share a bus speak rpc with the one that keeps its messages, over whatever streams the driver has.
 * Loaded only where a driver asks for it: the transport and what it stands on take some 30 MB.
 */
export function busSharing({ clock, log }: { readonly clock: Clock; readonly log: Log }): BusSharing {
  const load = async () => {
    const [{ busContract }, { rpc, rpcLinkOver }, serve, service, target, edge, remote, remoteBus, replicas] = await Promise.all([
      import('../../fabric/bus-contract.ts'),
      import('../../../adapters/transport/rpc/transport.ts'),
      import('../../fabric/serve.ts'),
      import('../../fabric/bus-service.ts'),
      import('../../fabric/target.ts'),
      import('../../fabric/edge.ts'),
      import('../../fabric/remote.ts'),
      import('../../fabric/remote-bus.ts'),
      import('../../fabric/replicas.ts'),
    ]);
    return { busContract, rpc, rpcLinkOver, ...serve, ...service, ...target, ...edge, ...remote, ...remoteBus, ...replicas };
  };
  return {
    async serve(bus) {
      const { busContract, rpc, BusService, Target, Serving, offerOf } = await load();
      const service = new BusService({ bus, clock, log });
      const target = new Target(busContract);
      target.serve(service);
      const identity: Identity = { introduction: { host: KEEPER, process: newId(), contracts: { [busContract.name]: busContract.hash } }, offers: [offerOf(busContract)], secret: null };
      const server = rpc.serve(identity, new Serving([target], log));
      return {
        accept: (stream) => server.accept(stream),
        async stop(deadlineMs) {
          await service.stop(deadlineMs);
          await server.stop(0);
        },
      };
    },
    async reach(connect) {
      const { busContract, rpcLinkOver, Replicas, RemoteBus, bindRemote, Edge } = await load();
      const identity: Identity = { introduction: { host: 'caller', process: newId(), contracts: {} }, offers: [], secret: null };
      const newLink = () => rpcLinkOver({ name: 'the process that keeps the messages', connect }, identity);
      const replicas = new Replicas({ host: KEEPER, contracts: [busContract], newLink, log });
      const links = new StartStop(() => replicas.update([KEEPER]), (deadlineMs) => replicas.stop(deadlineMs));
      return new RemoteBus({ stub: bindRemote(busContract, replicas, new Edge()), clock, log, wayMs: WAY_MS, links });
    },
  };
}
