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
    await Promise.all(system.hosts.map((host) => system.host(host).says(/there is no session with ZooKeeper/)));
    await sleep(2_000);
    await traffic.mail();
    zookeeper.thaw();
    await Promise.all(system.hosts.map((host) => system.host(host).says(/"awayMs":\d{4,}.*there is a session with ZooKeeper/)));
    await stop();
    await traffic.addsUp();
    for (const host of system.hosts) assert.equal(system.host(host).output.match(/there is no session with ZooKeeper/g)!.length, 1);
  });

  it('find a host that came back on another port', async () => {
    assert.equal(await system.host('mailer').stop(), 0);
    await traffic.post(3);
    await system.startHost('mailer');
    await traffic.mail();
    await traffic.addsUp();
  });

  it('go on while ZooKeeper is killed, and find each other again when it is back', async () => {
    await zookeeper.kill();
    await traffic.mail();
    await zookeeper.up();
    await system.host('mailer').kill();
    await traffic.post(3);
    await system.startHost('mailer');
    await traffic.mail(30_000);
    await traffic.addsUp();
  });

  it('start while ZooKeeper is away, and find each other when it comes', async () => {
    await system.stop();
    await zookeeper.kill();
    const starting = system.hosts.map((host) => system.launchHost(host));
    await Promise.all(starting.map((host) => host.says(/no session with ZooKeeper|ZooKeeper cannot be reached|"registry":"zookeeper"/)));
    await zookeeper.up();
    await Promise.all(starting.map((host) => host.untilReady()));
    await traffic.mail(30_000);
    await traffic.addsUp();
  });
});
