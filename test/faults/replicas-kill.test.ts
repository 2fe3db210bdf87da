import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isLong } from '../support/campaign.ts';
import type { Multilith } from '../support/multilith.ts';
import { PostgresServer } from '../support/postgres.ts';
import { SplitLoad } from '../support/split-load.ts';

/** A process that has just started gets its share of the messages within this. */
const SHARE_MS = 60_000;
/** Less than a slow machine carries on PostgreSQL, since what piles up has to be carried before anything can be counted. */
const EVENTS_PER_SECOND = 40;
const KILLS = isLong ? 40 : 2;
const MAILERS = ['mailer/2', 'mailer'];

it('two mailers on one PostgreSQL, killed in turn under load: nothing is lost, nothing done twice, the portal answers', { timeout: 600_000 }, async (t) => {
  const database = new PostgresServer();
  t.after(() => database.remove());
  await database.start();
  const layout = { hosts: { app: ['portal', 'trigger'], mailer: ['notification'] }, replicas: { mailer: 2 }, settings: { storage: { default: database.section } } };
  const { system, load } = await SplitLoad.on(t, layout, { eventsPerSecond: EVENTS_PER_SECOND });
  for (let kill = 0; kill < KILLS; kill++) {
    await load.more(125);
    const mailer = MAILERS[kill % 2]!;
    await system.host(mailer).kill();
    await load.more(50);
    await system.startHost(mailer);
  }
  for (const end = Date.now() + SHARE_MS; (await Promise.all(MAILERS.map((name) => carried(system.host(name))))).includes(0); await load.more(50)) {
    assert.ok(Date.now() < end, 'one of the two has carried nothing since its last start');
  }
  await load.addsUp(t);
  load.assertAnswered({ restarted: true });
});

/** How many deliveries a process has brought to rest. */
async function carried({ url }: Multilith): Promise<number> {
  const text = await (await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(5_000) })).text();
  return [...text.matchAll(/^\S*deliveries_total\{.*\} (\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
}
