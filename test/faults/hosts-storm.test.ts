import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { MailTraffic } from '../support/mail-traffic.ts';
import { seeded } from '../support/seed.ts';
import { MailServer } from '../support/smtp-server.ts';
import { TestSystem } from '../support/topologies.ts';

const KILLS = isLong ? 20 : 2;

it('all hosts killed and started again and again, under load: nothing is lost and no mail comes twice unmarked', { timeout: 600_000 }, async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const server = await MailServer.start();
  const system = await TestSystem.start({ hosts: { app: ['portal', 'trigger'], mailer: ['notification'] } }, { env: { MULTILITH_SMTP_URL: server.url } });
  t.after(async () => {
    await system.dispose();
    await server.stop();
  });
  const traffic = await MailTraffic.over(system, server);
  const stop = traffic.load(10);
  for (let kill = 0; kill < KILLS; kill++) {
    await new Promise((resolve) => setTimeout(resolve, 200 + random.whole(1_000)));
    await Promise.all(system.hosts.map((host) => system.host(host).kill()));
    // Not for the end of the starts: some are killed in the middle.
    const starts = system.hosts.map((host) => system.launchHost(host));
    if (kill % 2 === 0) await Promise.all(starts.map((host) => host.untilReady()));
    else await new Promise((resolve) => setTimeout(resolve, random.whole(2_000)));
  }
  await Promise.all(system.hosts.map(async (host) => system.host(host).untilReady()));
  await system.healed();
  await stop();
  const { events, repeated } = await traffic.addsUp(120_000);
  assert.ok(events > 0);
  t.diagnostic(`${events} events, ${KILLS} kills of all hosts, ${repeated} mails twice`);
});
