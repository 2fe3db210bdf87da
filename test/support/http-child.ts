import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { http } from '../../adapters/transport/http/transport.ts';
import { echo, Held, identityOf } from './http-host.ts';

/*
 * A host in a process of its own, to be stopped and killed: echoes, but holds a call whose request is "held" for ever.
 * Tells its parent its port, and ends with it.
 */

const held = new Held();
const server = http.serve(identityOf(), { dispatch: (call) => (call.request === 'held' ? held.dispatch(call) : echo(call)) });
const listener = createServer((socket) => server.accept(socket.on('error', () => {})));
process.on('disconnect', () => process.exit(0));
await once(listener.listen(0, '127.0.0.1'), 'listening');
process.send!({ port: (listener.address() as AddressInfo).port });
