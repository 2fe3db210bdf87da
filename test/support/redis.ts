import { freePort, ServerProcess } from './server-process.ts';

/** Keeps nothing on disk. */
export async function redisServer(...settings: string[]): Promise<ServerProcess> {
  const port = await freePort();
  return new ServerProcess('redis-server', ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--appendonly', 'no', ...settings], port);
}
