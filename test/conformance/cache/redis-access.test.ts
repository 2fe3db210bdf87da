import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext as Test } from 'node:test';
import type { Log } from '../../../src/kernel/telemetry.ts';
import { redisServer } from '../../support/redis.ts';
import { freePort, ServerProcess } from '../../support/server-process.ts';
import { sharedCacheUnderTest } from '../../support/shared-caches.ts';

const MINUTE_MS = 60_000;
const under = sharedCacheUnderTest('redis');

async function running(t: Test, server: ServerProcess): Promise<ServerProcess> {
  t.after(() => server.kill());
  return server.start();
}

describe('a Redis server that asks who is there', () => {
  it('is used with its password, and left alone without it, which no log tells', async (t) => {
    const lines: string[] = [];
    const note = (fields: object, message: string) => void lines.push(`${message} ${JSON.stringify(fields)}`);
    const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log };
    const { port } = await running(t, await redisServer('--requirepass', 'hunter2'));
    const right = await under.open(t, port, { password: 'hunter2', database: 3 });
    await right.set('k', 'v', MINUTE_MS);
    assert.equal(await right.get('k'), 'v');
    for (const settings of [{ password: 'hunter3' }, {}]) {
      const wrong = await under.open(t, port, settings, log);
      assert.deepEqual([wrong.reachable, await wrong.get('k')], [false, undefined]);
    }
    assert.equal(lines.length, 2, lines.join('\n'));
    assert.doesNotMatch(lines.join('\n'), /hunter/);
  });

  it('is used over TLS when its certificate proves its name', async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'multilith-tls-'));
    t.after(() => rmSync(dir, { recursive: true }));
    const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1', '-subj', '/CN=cache', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
    const port = await freePort();
    const settings = ['--bind', '127.0.0.1', '--port', '0', '--tls-port', String(port), '--tls-cert-file', cert, '--tls-key-file', key, '--tls-auth-clients', 'no', '--save', ''];
    await running(t, new ServerProcess('redis-server', settings, port));
    const ca = readFileSync(cert, 'utf8');
    const right = await under.open(t, port, { host: 'localhost', tls: true, ca });
    await right.set('k', 'v', MINUTE_MS);
    assert.equal(await right.get('k'), 'v');
    for (const wrong of [{ host: 'localhost', tls: true }, { host: '127.0.0.1', tls: true, ca }, { host: 'localhost' }]) assert.equal((await under.open(t, port, wrong)).reachable, false);
  });

  it('goes on answering what it has while it refuses to store more', async (t) => {
    const warnings: string[] = [];
    const log: Log = { debug() {}, info() {}, warn: (_, message) => void warnings.push(message), error() {}, child: () => log };
    const { port } = await running(t, await redisServer('--maxmemory', '3mb', '--maxmemory-policy', 'noeviction'));
    const cache = await under.open(t, port, {}, log);
    await cache.set('k', 'v', MINUTE_MS);
    for (let i = 0; i < 20; i++) await cache.set(`big${i}`, 'x'.repeat(400_000), MINUTE_MS);
    assert.deepEqual([cache.reachable, await cache.get('k')], [true, 'v']);
    assert.deepEqual(warnings, ['refuses to store']);
  });
});
