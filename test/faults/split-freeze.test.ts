import { it } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { SplitLoad } from '../support/split-load.ts';
import { layouts } from '../support/topologies.ts';

const FROZEN_MS = isLong ? 10_000 : 3_000;
const ROUNDS = isLong ? 5 : 1;

it('each host of a split system frozen under load: nothing is lost, nothing done twice, the portal answers', { timeout: 900_000 }, async (t) => {
  const { system, load } = await SplitLoad.on(t, layouts['each module on its own host over rpc']);
  for (let round = 0; round < ROUNDS; round++) {
    for (const host of system.hosts) {
      await load.more(50);
      const frozen = async () => {
        system.host(host).freeze();
        await new Promise((resolve) => setTimeout(resolve, FROZEN_MS));
        system.host(host).thaw();
        await system.healed();
      };
      await load.without(host, frozen);
    }
  }
  await load.addsUp(t);
  load.assertAnswered();
});
