import type { Server } from 'node:net';
import type { Log } from '../../kernel/telemetry.ts';
import type { ListenAddress } from '../config/listen.ts';
import { BootProblem } from './boot-problem.ts';

/** How an operator has a server listen elsewhere: `MULTILITH_HTTP_LISTEN=…`, `--set hosts.app.listen=…`. */
export type Elsewhere = (address: string) => string;

/** Connections that wait to be taken; a burst of clients is not turned away. */
const BACKLOG = 1_024;

/** Resolves when it listens. @throws BootProblem that says what is in the way and how to listen elsewhere. */
export function listenAt(server: Server, address: ListenAddress, elsewhere: Elsewhere, log: Log): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => reject(problemOf(error, address, elsewhere));
    server.once('error', fail);
    server.listen({ ...address, backlog: BACKLOG }, () => {
      server.removeListener('error', fail);
      // Out of file descriptors, for example: the next connection may succeed.
      server.on('error', (error) => log.error({ err: error }, 'A server reports an error'));
      resolve();
    });
  });
}

/** Where it listens, with the port that the system chose when port 0 was asked for. */
export function addressOf(server: Server): ListenAddress {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('The server does not listen.');
  return { host: address.address, port: address.port };
}

function problemOf(error: NodeJS.ErrnoException, { host, port }: ListenAddress, elsewhere: Elsewhere): BootProblem {
  const at = (newHost: string, newPort: number) => elsewhere(`${newHost}:${newPort}`);
  const remedy = `Stop what uses it (ss -ltnp), or listen elsewhere: ${at(host, port === 65_535 ? port - 1 : port + 1)}`;
  if (error.code === 'EADDRINUSE') return new BootProblem(`Port ${port} on ${host} is taken by another program.`, remedy, error);
  if (error.code === 'EACCES') return new BootProblem(`This user may not listen on port ${port}.`, `Ports below 1024 are the system's. Listen on another one, e.g. ${at(host, 8080)}, with a proxy in front.`, error);
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND') return new BootProblem(`${host} is no address of this machine.`, `Listen on one that is, e.g. ${at('127.0.0.1', port)}, or ${at('0.0.0.0', port)} for all of them.`, error);
  return new BootProblem(`The system does not let this process listen on ${host}:${port} (${error.code}).`, remedy, error);
}
