import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext as Test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLong } from '../support/campaign.ts';
import { readLedger, Writer } from '../support/ledger.ts';
import { powerCutDisk } from '../support/power-cut.ts';
import { type Random, seeded } from '../support/seed.ts';

const CUTS = isLong ? 25 : 8;
const ROUNDS = isLong ? 16 : 1;

interface Campaign {
  readonly durability: 'power-loss' | 'process-crash';
  readonly cuts: number;
  /** The campaign ends early when this many cuts have lost something. */
  readonly enough: number;
}

/** Cuts the power at random moments of one writer's run; answers how many acknowledged transactions each cut lost. */
async function campaign(t: Test, random: Random, { durability, cuts, enough }: Campaign): Promise<number[]> {
  const disk = powerCutDisk();
  t.after(() => disk.remove());
  const writer = new Writer({ dataDir: disk.dataDir, prefix: 'p', inFlight: 1 + random.whole(60), settings: { durability, checkpointKb: 512 } });
  t.after(() => writer.kill());
  await writer.until(() => writer.acknowledged.size > 0);
  const losses: number[] = [];
  while (losses.length < cuts && losses.filter((lost) => lost > 0).length < enough) {
    await sleep(random.whole(40));
    // What has been heard by now was acknowledged before the cut.
    const acknowledged = [...writer.acknowledged];
    const after = disk.cut();
    losses.push((await readLedger(after.dataDir)).lost(acknowledged).length);
    after.remove();
  }
  assert.equal(writer.failed.size, 0);
  t.diagnostic(`${losses.length} cuts, ${writer.acknowledged.size} transactions, lost at each cut: ${losses.join(' ')}`);
  await writer.kill();
  return losses;
}

for (let round = 1; round <= ROUNDS; round++) {
  test(`power cuts lose nothing acknowledged, ${CUTS} of them, round ${round}`, async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const losses = await campaign(t, random, { durability: 'power-loss', cuts: CUTS, enough: 1 });
    assert.deepEqual(losses.filter((lost) => lost > 0), []);
  });
}

test('the first transaction of a new database survives a power cut right after it', async (t) => {
  const disk = powerCutDisk();
  t.after(() => disk.remove());
  for (let i = 0; i < 5; i++) {
    const dataDir = join(disk.dataDir, `new${i}`);
    mkdirSync(dataDir);
    // The directory is older than the database, as it is for every process.
    execFileSync('sync', ['-f', dataDir]);
    const writer = new Writer({ dataDir, prefix: 'first', inFlight: 1, transactions: 1 });
    t.after(() => writer.kill());
    await writer.until(() => writer.acknowledged.size > 0);
    const after = disk.cut();
    assert.deepEqual((await readLedger(join(after.dataDir, `new${i}`))).lost(writer.acknowledged), []);
    after.remove();
    await writer.ended;
  }
});

test('control: without an fsync at each commit the same check finds losses', async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const losses = await campaign(t, random, { durability: 'process-crash', cuts: CUTS * 4, enough: 1 });
  assert.ok(losses.some((lost) => lost > 0), 'the check cannot fail, so it proves nothing');
});
