import { it } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { seeded } from '../support/seed.ts';
import { SplitLoad } from '../support/split-load.ts';
import { layouts } from '../support/topologies.ts';

const KILLS = isLong ? 60 : 3;

it('any host of a split system killed again and again under load: nothing is lost, nothing done twice, the portal answers', { timeout: 900_000 }, async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const { system, load } = await SplitLoad.on(t, layouts['each module on its own host over rpc']);
  for (let kill = 0; kill < KILLS; kill++) {
    await load.more(50);
    await new Promise((resolve) => setTimeout(resolve, random.whole(1_000)));
    const host = system.hosts[random.whole(system.hosts.length)]!;
    const again = async () => {
      await system.host(host).kill();
      await system.startHost(host);
    };
    await load.without(host, again);
  }
  await load.addsUp(t);
  load.assertAnswered({ restarted: true });
});
