import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { shared } from '../support/deployments.ts';
import type { Multilith } from '../support/multilith.ts';
import { SplitLoad } from '../support/split-load.ts';

const MAILERS = ['mailer', 'mailer/2', 'mailer/3'];
/** Half of them while nothing happens, and half while one of the three is killed, or frozen, again and again. */
const SENDS = isLong ? 100_000 : 160;
const KILLS = isLong ? 15 : 1;
/** Every so many interruptions the process is not killed but stands still. */
const FREEZE_EVERY = 3;
/** Beyond what the database lets a transaction stand still, and the messages a process that took them. */
const FROZEN_MS = 9_000;
/** What one mailer has under way at once, of which a kill may leave each sent and not written down. */
const UNDER_WAY_EACH = 128;
/** A process that has just started gets its share of the messages within this. */
const SHARE_MS = 60_000;
/** All that is under way comes to rest within this. */
const REST_MS = isLong ? 600_000 : 90_000;
const PACE = isLong ? { eventsPerSecond: 800, mostUnderWay: 2_000, keepsMails: false } : { eventsPerSecond: 40 };
const LONGEST_MS = isLong ? 5_400_000 : 300_000;

it(`three mailers on one PostgreSQL and one broker, ${SENDS} sends: none twice, and with one killed now and then only what was under way`, { timeout: LONGEST_MS }, async (t) => {
  const layout = { hosts: { app: ['portal', 'trigger'], mailer: ['notification'] }, replicas: { mailer: MAILERS.length } };
  const { system, load } = await SplitLoad.on(t, layout, { ...PACE, use: shared });
  const began = performance.now();
  assert.equal(await load.taken(SENDS / 2, LONGEST_MS), 0, 'mails that came twice while nothing happened');
  t.diagnostic(`${SENDS / 2} sends, none twice, ${Math.round((SENDS / 2 / (performance.now() - began)) * 1_000)}/s`);
  for (let turn = 1; turn <= KILLS; turn++) {
    const mailer = MAILERS[turn % MAILERS.length]!;
    if (turn % FREEZE_EVERY === 0) await freeze(system.host(mailer));
    else {
      await system.host(mailer).kill();
      await load.more(20);
      await system.startHost(mailer);
    }
    await load.taken(SENDS / 2 + Math.floor((SENDS / 2 / KILLS) * turn), LONGEST_MS);
  }
  for (const end = Date.now() + SHARE_MS; (await Promise.all(MAILERS.map((name) => carried(system.host(name))))).includes(0); await load.more(50)) {
    assert.ok(Date.now() < end, 'one of the three has carried nothing since its last start');
  }
  const repeated = await load.addsUp(t, REST_MS);
  assert.ok(repeated <= KILLS * UNDER_WAY_EACH, `${repeated} mails came twice`);
  // With as much as they carry, pages wait as long as everything else.
  if (!isLong) load.assertAnswered({ restarted: true });
});

async function freeze(host: Multilith): Promise<void> {
  host.freeze();
  await new Promise((resolve) => setTimeout(resolve, FROZEN_MS));
  host.thaw();
}

/** How many deliveries a process has brought to rest. */
async function carried({ url }: Multilith): Promise<number> {
  const text = await (await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(5_000) })).text();
  return [...text.matchAll(/^\S*deliveries_total\{.*\} (\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
}
