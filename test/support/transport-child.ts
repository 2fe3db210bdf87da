import { createServer } from 'node:net';
import { streamTransports } from '../../adapters/transport/catalog.ts';
import type { PeerAddress } from '../../src/ports/transport.ts';
import { ask, callOf, echo, identityOf, linkState } from './transports.ts';

/** Calls a host and serves itself, then stops both: what is left open keeps this process from ending. */
const [name, at] = process.argv.slice(2) as [keyof typeof streamTransports, string];
const transport = streamTransports[name];
const server = transport.serve(identityOf(), { dispatch: echo });
const listener = createServer((socket) => server.accept(socket)).listen(0, '127.0.0.1');
const link = transport.link(identityOf(), { at: JSON.parse(at) as PeerAddress['at'] });
await link.start();
await linkState(link, 'open');
await ask(link, callOf(1));
process.stdout.write('answered, ');
listener.close();
await Promise.all([link.stop(1_000), server.stop(1_000)]);
process.stdout.write('stopped\n');
