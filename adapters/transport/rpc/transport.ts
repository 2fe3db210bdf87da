import type { Identity, Link, StreamTransport } from '../../../src/ports/transport.ts';
import { PREAMBLE } from './frames.ts';
import { RpcLink, type Way, wayTo } from './link.ts';
import { RpcServer } from './server.ts';
import { DEFAULTS, type RpcSettings } from './settings.ts';

/** The transport with other bounds and times than usual. */
export function rpcWith(change: Partial<RpcSettings>): StreamTransport {
  const settings = { ...DEFAULTS, ...change };
  return {
    recognises: (beginning) => beginning.length > 0 && beginning.every((byte, at) => at >= PREAMBLE.length || byte === PREAMBLE[at]),
    serve: (identity, dispatcher) => new RpcServer(identity, dispatcher, settings),
    link: (identity, to) => new RpcLink(identity, wayTo(to), settings),
  };
}

/** A link over streams of another kind than sockets. */
export function rpcLinkOver(way: Way, identity: Identity, change: Partial<RpcSettings> = {}): Link {
  return new RpcLink(identity, way, { ...DEFAULTS, ...change });
}

/** One connection per pair of processes, many calls at once (docs/wire.md). */
export const rpc: StreamTransport = rpcWith({});
