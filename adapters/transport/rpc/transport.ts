import type { StreamTransport } from '../../../src/ports/transport.ts';
import { PREAMBLE } from './frames.ts';
import { RpcLink } from './link.ts';
import { RpcServer } from './server.ts';
import { DEFAULTS, type RpcSettings } from './settings.ts';

/** The transport with other bounds and times than usual. */
export function rpcWith(change: Partial<RpcSettings>): StreamTransport {
  const settings = { ...DEFAULTS, ...change };
  return {
    recognises: (beginning) => beginning.length > 0 && beginning.every((byte, at) => at >= PREAMBLE.length || byte === PREAMBLE[at]),
    serve: (identity, dispatcher) => new RpcServer(identity, dispatcher, settings),
    link: (identity, to) => new RpcLink(identity, to, settings),
  };
}

/** One connection per pair of processes, many calls at once (docs/wire.md). */
export const rpc: StreamTransport = rpcWith({});
