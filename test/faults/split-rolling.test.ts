import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { SplitLoad } from '../support/split-load.ts';
import { layouts } from '../support/topologies.ts';

const ROUNDS = isLong ? 10 : 1;

it('hosts stopped and started in order, one after the other, under load: no page fails that the portal can be asked for, and nothing is lost', { timeout: 600_000 }, async (t) => {
  const { system, load } = await SplitLoad.on(t, layouts['each module on its own host over rpc']);
  for (let round = 0; round < ROUNDS; round++) {
    for (const host of system.hosts) {
      await load.more(50);
      const restarted = async () => {
        assert.equal(await system.host(host).stop(), 0, system.host(host).output);
        await system.startHost(host);
        await system.healed();
      };
      await load.without(host, restarted);
    }
  }
  await load.addsUp(t);
  load.assertUnfailed();
});
