import { it } from 'node:test';
import { ActiveMqServer } from '../support/activemq.ts';
import { isLong } from '../support/campaign.ts';
import { seeded } from '../support/seed.ts';
import { SplitLoad } from '../support/split-load.ts';
import { layouts } from '../support/topologies.ts';

const KILLS = isLong ? 30 : 1;
/** Each passes the broker a dozen times; what a slow machine cannot work off in seconds would only make the test long. */
const EVENTS_PER_SECOND = isLong ? 200 : 40;

it('the broker killed again and again under load: nothing is lost, nothing done twice, and events are taken all the time', { timeout: 900_000 }, async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const broker = await ActiveMqServer.start();
  t.after(() => broker.remove());
  const { load } = await SplitLoad.on(t, { ...layouts['each module on its own host over rpc'], settings: { bus: { driver: 'activemq', port: broker.port } } }, { eventsPerSecond: EVENTS_PER_SECOND });
  for (let kill = 0; kill < KILLS; kill++) {
    await load.more(50);
    await new Promise((resolve) => setTimeout(resolve, random.whole(1_000)));
    await broker.kill();
    await load.more(50);
    await broker.up();
    await load.more(50);
  }
  await load.addsUp(t);
  load.assertAnswered();
});
