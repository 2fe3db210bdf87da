import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MailTraffic } from '../support/mail-traffic.ts';
import { MailServer } from '../support/smtp-server.ts';
import { TestSystem } from '../support/topologies.ts';
import { ZooKeeperServer } from '../support/zookeeper.ts';

describe('hosts that find each other by ZooKeeper, on ports that nobody wrote down', () => {
  let zookeeper: ZooKeeperServer;
  let server: MailServer;
  let system: TestSystem;
  let traffic: MailTraffic;
  before(async () => {
    [zookeeper, server] = await Promise.all([ZooKeeperServer.start(), MailServer.start()]);
    system = await TestSystem.prepare(
      { hosts: { app: ['portal', 'trigger'], mailer: ['notification'] }, settings: { registry: { driver: 'zookeeper', servers: [`127.0.0.1:${zookeeper.port}`], sessionTimeoutMs: 2_000 } } },
      { anyPort: true, env: { MULTILITH_SMTP_URL: server.url } },
    );
  });
  after(async () => {
    await system?.dispose();
    await server?.stop();
    await zookeeper?.remove();
  });

  it('start together, and neither waits for the time-out of the other', async () => {
    await Promise.all(system.hosts.map((host) => system.startHost(host)));
    assert.doesNotMatch(system.output, /cannot be had/);
    traffic = await MailTraffic.over(system, server);
    await traffic.mail();
  });

  it('go on while ZooKeeper is frozen, and say so once', async () => {
    zookeeper.freeze();
    const stop = traffic.load(1);
    await sleep(5_000);
    await traffic.mail(3_000);
    zookeeper.thaw();
    await stop();
    await traffic.addsUp();
  });
});
