import assert from 'node:assert/strict';
import { it } from 'node:test';
import { MailServer } from '../support/smtp-server.ts';
import { SplitLoad } from '../support/split-load.ts';
import { layouts, TestSystem } from '../support/topologies.ts';

const ROUNDS = process.env.MULTILITH_FAULTS === 'long' ? 10 : 1;

it('hosts stopped and started in order, one after the other, under load: no page fails but those of the host that is away, and nothing is lost', { timeout: 600_000 }, async (t) => {
  const server = await MailServer.start();
  const system = await TestSystem.start(layouts['each module on its own host over rpc'], { env: { MULTILITH_SMTP_URL: server.url } });
  const load = await SplitLoad.start(system, server);
  t.after(async () => {
    await load.stop();
    await system.dispose();
    await server.stop();
  });
  for (let round = 0; round < ROUNDS; round++) {
    for (const host of system.hosts) {
      await load.more(50);
      const restarted = async () => {
        assert.equal(await system.host(host).stop(), 0, system.host(host).output);
        await system.startHost(host);
        await system.healed();
      };
      await (host === system.hostOf('portal') ? load.unvisited(restarted) : restarted());
    }
  }
  t.diagnostic(await load.finish());
  load.assertAnswered();
});
