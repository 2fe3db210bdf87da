import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Finding } from '../../src/app/host/checks.ts';
import type { HostStatus, SystemStatus } from '../../src/kernel/system.ts';
import { runCli } from '../support/cli.ts';
import { memcachedServer } from '../support/memcached.ts';
import { Multilith } from '../support/multilith.ts';
import { redisServer } from '../support/redis.ts';
import type { ServerProcess } from '../support/server-process.ts';
import { TestSystem } from '../support/topologies.ts';
import { ZooKeeperServer } from '../support/zookeeper.ts';

const WITHIN_MS = 30_000;

/** What a host tells anybody. */
async function readiness(url: string): Promise<{ ready: boolean; problems: string[] }> {
  return (await (await fetch(`${url}/readyz`)).json()) as { ready: boolean; problems: string[] };
}

async function problemsUntil(url: string, enough: (problems: string[]) => boolean): Promise<string[]> {
  for (const end = Date.now() + WITHIN_MS; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    const { ready, problems } = await readiness(url);
    assert.equal(ready, true, 'a host goes on without it');
    if (enough(problems)) return problems;
    assert.ok(Date.now() < end, JSON.stringify(problems));
  }
}

/** A browser's session of the first user. */
async function loggedIn({ url, output }: { url: string; output: string }): Promise<string> {
  const link = /http:\S+\/setup\/\S+/.exec(output)![0];
  const body = new URLSearchParams({ email: 'owner@agency.example', password: 'correct horse battery', workspace: 'Agency' });
  const made = await fetch(link.replace(/^http:\/\/[^/]+/, url), { method: 'POST', body, redirect: 'manual' });
  return made.headers.getSetCookie()[0]!.split(';')[0]!;
}

describe('a server that hosts can do without, when it is not there', () => {
  let servers: Readonly<Record<'zookeeper', ZooKeeperServer> & Record<'memcached' | 'redis', ServerProcess>>;
  let system: TestSystem;
  let cookie: string;
  before(async () => {
    const [zookeeper, memcached, redis] = await Promise.all([ZooKeeperServer.start(), memcachedServer().then((server) => server.start()), redisServer().then((server) => server.start())]);
    servers = { zookeeper, memcached, redis };
    system = await TestSystem.start({
      hosts: { app: ['portal', 'trigger'], mailer: ['notification'] },
      calls: { portal: { cache: { entries: 100, shared: 'memcached' } }, notification: { cache: { entries: 100, shared: 'redis' } } },
      settings: {
        registry: { driver: 'zookeeper', servers: [`127.0.0.1:${zookeeper.port}`], sessionTimeoutMs: 2_000 },
        caches: { memcached: { driver: 'memcached', servers: [`127.0.0.1:${memcached.port}`] }, redis: { driver: 'redis', port: redis.port } },
      },
    });
    cookie = await loggedIn({ url: system.url, output: system.output });
  });
  after(async () => {
    await system?.dispose();
    await Promise.all([servers?.zookeeper.remove(), servers?.memcached.kill(), servers?.redis.kill()]);
  });

  /** Which hosts use it: each has the cache in front of what it calls. */
  const users = { zookeeper: ['app', 'mailer'], memcached: ['mailer'], redis: ['app'] } as const;
  const named = { zookeeper: 'registry', memcached: 'cache memcached', redis: 'cache redis' } as const;

  for (const name of ['zookeeper', 'memcached', 'redis'] as const) {
    it(`${name} is missed in /readyz, /api/v1/system/hosts, top and doctor, with what to do, until it is back`, { timeout: 120_000 }, async () => {
      const url = (host: string) => (host === 'app' ? system.url : `http://127.0.0.1:${system.port(host)}`);
      const server = servers[name];
      for (const host of users[name]) await problemsUntil(url(host), (problems) => problems.length === 0);
      await server.kill();
      for (const host of users[name]) {
        const [problem, ...more] = await problemsUntil(url(host), (problems) => problems.length > 0);
        assert.match(problem!, new RegExp(`^${named[name]}: ${name} does not answer.* Start it, or correct `));
        assert.ok(!/127\.0\.0\.1|\d{4}/.test(problem!) && more.length === 0, JSON.stringify([problem, more]));
      }

      const { hosts } = (await (await fetch(`${system.url}/api/v1/system/hosts`, { headers: { cookie } })).json()) as SystemStatus;
      const missing = (status: HostStatus) => status.problems.filter((problem) => problem.includes(`${name} at 127.0.0.1:${server.port} does not answer`)).length;
      assert.deepEqual(hosts.map((status) => [status.host, missing(status)]), ['app', 'mailer'].map((host) => [host, Number((users[name] as readonly string[]).includes(host))]));

      const { out } = await runCli(['top', '--once', '--topology', system.topology]);
      assert.match(out.replaceAll(/\s+/g, ' '), new RegExp(`1 problem .*! ${users[name].join(', ')}: ${named[name]}: ${name} at 127\\.0\\.0\\.1:${server.port} does not answer.* Start it, or correct `), out);

      const { code, out: found } = await runCli(['doctor', '--json', '--topology', system.topology, '--host', users[name][0]]);
      const finding = (JSON.parse(found) as Finding[]).find(({ check }) => check === named[name])!;
      assert.deepEqual([code, finding.state], [0, 'warn']);
      assert.match(finding.remedy!, /^Start it, or correct /);

      if (server === servers.zookeeper) await server.up();
      else await (server as ServerProcess).start();
      for (const host of users[name]) await problemsUntil(url(host), (problems) => problems.length === 0);
      assert.match((await runCli(['top', '--once', '--topology', system.topology])).out, /all well/);
    });
  }
});

it('a single host with a cache in front of a thread misses it too', { timeout: 60_000 }, async (t) => {
  const cache = await redisServer();
  const sets = ['calls.notification={via: thread, cache: {entries: 100, shared: redis}}', `caches.redis={driver: redis, port: ${cache.port}}`].flatMap((set) => ['--set', set]);
  const host = await Multilith.start({ args: sets });
  t.after(async () => {
    await host.dispose();
    await cache.kill();
  });
  await problemsUntil(host.url, (problems) => /^cache redis: redis does not answer/.test(problems.join()));
  const env = { MULTILITH_DATA: host.dataDir, MULTILITH_HTTP_LISTEN: '127.0.0.1:0' };
  assert.match((await runCli(['top', '--once'], { env })).out, new RegExp(`! app: cache redis: redis at 127\\.0\\.0\\.1:${cache.port} does not answer`));
  assert.match((await runCli(['doctor', ...sets], { env })).out, /^warn {2}cache redis +redis does not answer\n +→ Start it, or correct caches\.redis\./m);
  await cache.start();
  await problemsUntil(host.url, (problems) => problems.length === 0);
});
