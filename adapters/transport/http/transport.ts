import type { Identity, PeerAddress, StreamTransport } from '../../../src/ports/transport.ts';
import { HttpLink, type LinkSettings } from './link.ts';
import { HttpServing } from './server.ts';

const METHODS = ['GET ', 'POST ', 'HEAD ', 'PUT ', 'PATCH ', 'DELETE ', 'OPTIONS ', 'CONNECT ', 'TRACE '];

/** HTTP/1.1 with JSON, for hosts and for whoever has curl: docs/contracts-over-http.md. */
export function httpTransport(settings: LinkSettings): StreamTransport {
  return {
    recognises(beginning) {
      const text = Buffer.from(beginning).toString('latin1');
      return METHODS.some((method) => method.startsWith(text) || text.startsWith(method));
    },
    serve: (identity, dispatcher) => new HttpServing(identity, dispatcher),
    link: (identity: Identity, to: PeerAddress) => new HttpLink(identity, to, settings),
  };
}

export const http: StreamTransport = httpTransport({ batches: true });
