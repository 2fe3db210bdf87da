import { chmodSync, linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { join, relative } from 'node:path';
import { newId } from '../../kernel/ids.ts';
import { BootProblem } from '../host/boot-problem.ts';
import { dataDirProblem } from '../host/data-dir.ts';

/** sockaddr_un holds 108 bytes on Linux, 104 elsewhere, the closing NUL included. */
const MAX_PATH_BYTES = 103;
const CONNECT_MS = 2_000;

/**
 * The control socket of a host that runs on a data directory, which hosts of one machine may share; as short as it can
 * be said from here.
 * @throws BootProblem when that is too long for the system.
 */
export function controlPath(dataDir: string, host: string): string {
  const full = join(dataDir, `${host}.sock`);
  const [path] = [full, relative(process.cwd(), full)].sort((a, b) => a.length - b.length);
  if (Buffer.byteLength(path!) <= MAX_PATH_BYTES) return path!;
  throw new BootProblem(`The path of the data directory is too long for a control socket: ${dataDir}`, `Use one of at most ${MAX_PATH_BYTES - host.length - 6} bytes, or run from a folder near it.`);
}

/**
 * Takes a host's place on the data directory for this process by listening on its control socket. The system frees it when the process
 * dies, however it dies: what is left then is a file that refuses connections, and the next one clears it away.
 * (The databases have a lock each besides; this one is for the clear message, and comes first.)
 * @throws BootProblem that names the process which has it.
 */
export async function takeDataDir(dataDir: string, host: string): Promise<Server> {
  const path = controlPath(dataDir, host);
  const server = createServer({ headersTimeout: 5_000, requestTimeout: 30_000 });
  for (let tries = 0; tries < 20; tries++) {
    if (await listen(server, path)) {
      sign(dataDir, host, path, server);
      return server;
    }
    if (await isAlive(path)) throw locked(dataDir, host);
    await clearAway(path);
  }
  throw locked(dataDir, host);
}

/** Gives the place back, without a trace: first our name, which is nobody else's for as long as we listen. */
export function leaveDataDir(server: Server, dataDir: string, host: string): Promise<void> {
  if (signedBy(dataDir, host) === process.pid) rmSync(join(dataDir, `${host}.pid`), { force: true });
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

/** The process that has signed for a host on a data directory; null when that cannot be read. */
export function signedBy(dataDir: string, host: string): number | null {
  try {
    return Number.parseInt(readFileSync(join(dataDir, `${host}.pid`), 'utf8'), 10) || null;
  } catch {
    return null;
  }
}

/** For its user only, and with our name on it for whoever finds the directory taken. */
function sign(dataDir: string, host: string, path: string, server: Server): void {
  try {
    chmodSync(path, 0o600);
    writeFileSync(join(dataDir, `${host}.pid`), `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    server.close();
    throw dataDirProblem(dataDir, error);
  }
}

function listen(server: Server, path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(new BootProblem(`The control socket ${path} cannot be made (${error.code}).`, 'The data directory must lie on a file system that holds Unix sockets, and this user must be allowed to write there.', error));
    };
    server.once('error', fail);
    server.listen({ path }, () => {
      server.removeListener('error', fail);
      // Out of file descriptors, for example: whoever asked is not answered, and the next one may be.
      server.on('error', () => {});
      resolve(true);
    });
  });
}

/** Whether somebody listens. One that takes the connection and then says nothing (stopped, swapped out) counts. */
export function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const settle = (alive: boolean) => {
      socket.destroy();
      resolve(alive);
    };
    socket.setTimeout(CONNECT_MS, () => settle(true));
    socket.once('connect', () => settle(true));
    socket.once('error', (error: NodeJS.ErrnoException) => settle(!['ECONNREFUSED', 'ENOENT', 'ENOTSOCK'].includes(error.code ?? '')));
  });
}

/**
 * Removes a socket that nobody listens on. Between finding it dead and removing it another process may have put its
 * own in place; so it is moved aside first, looked at again, and put back when it turns out to be alive.
 */
async function clearAway(path: string): Promise<void> {
  const aside = `${path}.${newId().slice(-12)}`;
  try {
    renameSync(path, aside);
  } catch {
    return; // Another process was quicker.
  }
  if (await isAlive(aside)) putBack(aside, path);
  rmSync(aside, { force: true });
}

function putBack(aside: string, path: string): void {
  try {
    linkSync(aside, path);
  } catch {
    // A third one listens there by now; the databases' own locks decide between the two.
  }
}

function locked(dataDir: string, host: string): BootProblem {
  return new BootProblem(`The data directory ${dataDir} is in use by ${holderOf(dataDir, host)}.`, 'Stop that process, or give this one a data directory of its own: MULTILITH_DATA=…');
}

function holderOf(dataDir: string, host: string): string {
  const pid = signedBy(dataDir, host);
  return pid === null ? 'another Multilith process' : `another Multilith process, ${pid}`;
}
