import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LedgerChild, readEffects, readPending } from '../support/bus-ledger.ts';
import { onEachBus } from '../support/buses.ts';
import { isLong } from '../support/campaign.ts';
import { seeded } from '../support/seed.ts';

const KILLS = isLong ? 200 : 5;

onEachBus('bus, killed', (under) => {
  test(`kill -9, ${KILLS} times in a row while it publishes and consumes: accepted = done + pending, in order of key`, async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const place = under.place(t);
    const accepted = new Set<string>();
    for (let kill = 0; kill < KILLS; kill++) {
      const child = new LedgerChild({ driver: under.driver, dataDir: place.dataDir, run: `k${kill}`, publishers: 1 + random.whole(60), each: 1_000_000 }, random.whole(2 ** 31));
      t.after(() => child.kill());
      while (child.accepted.size === 0) await Promise.race([sleep(5), child.ended.then(() => assert.fail(child.errors))]);
      await sleep(random.whole(200));
      await child.kill();
      assert.deepEqual(child.failures, []);
      for (const id of child.accepted) accepted.add(id);
      if (kill % 3 === 0) await check(kill);
    }
    const last = new LedgerChild({ driver: under.driver, dataDir: place.dataDir, run: 'end', publishers: 1, each: 0 }, random.whole(2 ** 31));
    t.after(() => last.kill());
    await last.quiet;
    await last.ended;
    const done = await readEffects(place.dataDir);
    assert.deepEqual([...accepted].filter((id) => !done.has(id)), [], last.errors);
    t.diagnostic(`${accepted.size} messages accepted`);
    assert.ok(accepted.size > KILLS * 10);

    async function check(kill: number): Promise<void> {
      const done = await readEffects(place.dataDir);
      const bus = await under.open(t, place);
      const pending = await readPending(bus, 'q');
      assert.deepEqual([...accepted].filter((id) => !done.has(id) && !pending.has(id)), [], `lost after kill ${kill}`);
      await bus.stop(5_000);
    }
  });
});
