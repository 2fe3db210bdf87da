import { it } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { shared } from '../support/deployments.ts';
import { SplitLoad } from '../support/split-load.ts';
import { twoOfEach } from '../support/topologies.ts';

const EVENTS_PER_SECOND = 20;
/** Beyond what the database lets a transaction stand still, and the messages a process that took them. */
const FROZEN_MS = 9_000;
const ROUNDS = isLong ? 10 : 1;

it('two processes of each module over http, one of each killed and one frozen under load: nothing is lost, nothing done twice', { timeout: 1_800_000 }, async (t) => {
  const via = { via: 'http' };
  const layout = { ...twoOfEach, calls: { portal: via, trigger: via, notification: via } };
  const { system, load } = await SplitLoad.on(t, layout, { eventsPerSecond: EVENTS_PER_SECOND, use: shared });
  for (let round = 0; round < ROUNDS; round++) {
    await load.more(25);
    const killed = ['web/2', 'rules', 'mailer/2'];
    await Promise.all(killed.map((name) => system.host(name).kill()));
    await load.more(25);
    await Promise.all(killed.map((name) => system.startHost(name)));
    await load.more(25);
    const frozen = ['web/2', 'rules/2', 'mailer'];
    for (const name of frozen) system.host(name).freeze();
    await new Promise((resolve) => setTimeout(resolve, FROZEN_MS));
    for (const name of frozen) system.host(name).thaw();
    await system.healed();
  }
  await load.more(25);
  await load.addsUp(t);
});
