import { it } from 'node:test';
import { MailServer } from '../support/smtp-server.ts';
import { SplitLoad } from '../support/split-load.ts';
import { layouts, TestSystem } from '../support/topologies.ts';

const isLong = process.env.MULTILITH_FAULTS === 'long';
const FROZEN_MS = isLong ? 10_000 : 3_000;
const ROUNDS = isLong ? 5 : 1;

it('each host of a split system frozen under load: nothing is lost, nothing done twice, the portal answers', { timeout: 900_000 }, async (t) => {
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
      const frozen = async () => {
        system.host(host).freeze();
        await new Promise((resolve) => setTimeout(resolve, FROZEN_MS));
        system.host(host).thaw();
        await system.healed();
      };
      await (host === system.hostOf('portal') ? load.unvisited(frozen) : frozen());
    }
  }
  t.diagnostic(await load.finish());
  load.assertAnswered();
});
