import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLong } from '../support/campaign.ts';
import { testContext } from '../support/context.ts';
import { rejectsWith } from '../support/faults.ts';
import { readLedger, Writer } from '../support/ledger.ts';
import { seeded } from '../support/seed.ts';
import { openLedger } from '../support/storage-writer.ts';

const KILLS = isLong ? 300 : 10;

test(`kill -9, ${KILLS} times in a row under load, loses nothing acknowledged`, async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const place = testContext();
  t.after(() => place.remove());
  const acknowledged = new Set<string>();
  for (let kill = 0; kill < KILLS; kill++) {
    // A small log, so that kills meet checkpoints too.
    const writer = new Writer({ dataDir: place.dataDir, prefix: `k${kill}`, inFlight: 1 + random.whole(100), settings: { checkpointKb: 256 } });
    t.after(() => writer.kill());
    await writer.until(() => writer.acknowledged.size > 0);
    await sleep(random.whole(150));
    await writer.kill();
    assert.deepEqual([...writer.failed], []);
    for (const id of writer.acknowledged) acknowledged.add(id);
    const found = await readLedger(place.dataDir);
    assert.deepEqual(found.lost(acknowledged), []);
  }
  t.diagnostic(`${acknowledged.size} transactions acknowledged`);
  assert.ok(acknowledged.size > KILLS);
});

test('a database that another process holds is refused, and free when that process has been killed', async (t) => {
  const place = testContext();
  t.after(() => place.remove());
  const writer = new Writer({ dataDir: place.dataDir, prefix: 'owner', inFlight: 1, bytes: 10 });
  t.after(() => writer.kill());
  await writer.until(() => writer.acknowledged.size > 10);
  const fault = await rejectsWith('unavailable', openLedger(place.dataDir), 'locked');
  assert.match(String(fault.details.remedy), /other process/);
  const before = writer.acknowledged.size;
  await writer.until(() => writer.acknowledged.size > before + 10);
  await writer.kill();
  const found = await readLedger(place.dataDir);
  assert.deepEqual(found.lost(writer.acknowledged), []);
});
