import { freePort, ServerProcess } from './server-process.ts';

/** memcached refuses to run as root. */
export async function memcachedServer(): Promise<ServerProcess> {
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const port = await freePort();
  return new ServerProcess('memcached', [...user, '-l', '127.0.0.1', '-p', String(port), '-U', '0', '-m', '16'], port);
}
