import type { StreamTransport } from '../../../src/ports/transport.ts';
import { HttpLink } from './link.ts';
import { HttpServing } from './server.ts';
import { DEFAULTS, type HttpSettings } from './settings.ts';

const METHODS = ['GET ', 'POST ', 'HEAD ', 'PUT ', 'PATCH ', 'DELETE ', 'OPTIONS ', 'CONNECT ', 'TRACE '];

/** HTTP/1.1 with JSON, for hosts and for whoever has curl: docs/contracts-over-http.md. */
export function httpTransport(change: Partial<HttpSettings> = {}): StreamTransport {
  const settings = { ...DEFAULTS, ...change };
  return {
    recognises(beginning) {
      const text = Buffer.from(beginning).toString('latin1');
      return METHODS.some((method) => method.startsWith(text) || text.startsWith(method));
    },
    serve: (identity, dispatcher, others) => new HttpServing(identity, dispatcher, settings, others),
    link: (identity, to) => new HttpLink(identity, to, settings),
  };
}

export const http: StreamTransport = httpTransport();
