import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test, type TestContext as Test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLong } from '../support/campaign.ts';
import { Multilith } from '../support/multilith.ts';
import { powerCutDisk } from '../support/power-cut.ts';
import { type Random, seeded } from '../support/seed.ts';
import { TestWorkspace } from '../support/workspace.ts';

const CUTS = isLong ? 60 : 2;
const BATCH = 10;
const SENDERS = 3;

interface Campaign {
  /** Arguments of the Node that is cut off. */
  readonly execArgv: readonly string[];
  readonly cuts: number;
  /** The campaign ends with the first cut that has lost something. */
  readonly untilLoss: boolean;
}

/** Cuts the power of a whole process under load; answers how many acknowledged events each cut cost their mail. */
async function campaign(t: Test, random: Random, { execArgv, cuts, untilLoss }: Campaign): Promise<number[]> {
  const disk = powerCutDisk();
  t.after(() => disk.remove());
  const multilith = await Multilith.start({ dataDir: disk.dataDir, execArgv });
  t.after(() => multilith.kill());
  const workspace = await TestWorkspace.create(multilith);
  await workspace.send(Array.from({ length: 20 }, (_, i) => ({ type: 'identify', userId: `u${i}`, traits: { email: `u${i}@customer.example` } })));
  await workspace.automation('Claim Opened', await workspace.template({ subject: '{{ event.number }}', body: '<p>Hello</p>' }));

  // Only the events are in question, not what they work on.
  execFileSync('sync', ['-f', disk.dataDir]);

  const acknowledged = new Set<number>();
  let next = 0;
  const sendUntil = async (over: AbortSignal): Promise<void> => {
    while (!over.aborted) {
      const numbers = Array.from({ length: BATCH }, () => next++);
      const events = numbers.map((number) => ({ type: 'track', messageId: `claim-${number}`, userId: `u${number % 20}`, event: 'Claim Opened', properties: { number } }));
      if ((await workspace.send(events)).ok) numbers.forEach((number) => acknowledged.add(number));
      await sleep(random.whole(20));
    }
  };
  const losses: number[] = [];
  while (losses.length < cuts && !(untilLoss && losses.some((lost) => lost > 0))) {
    const over = new AbortController();
    const senders = Array.from({ length: SENDERS }, () => sendUntil(over.signal));
    await sleep(100 + random.whole(400));
    // What has been heard by now was acknowledged before the cut.
    const promised = [...acknowledged];
    const after = disk.cut();
    over.abort();
    await Promise.all(senders);
    losses.push(await missing(after.dataDir, workspace.key, promised));
    after.remove();
  }
  t.diagnostic(`${losses.length} cuts, ${acknowledged.size} events, lost at each cut: ${losses.join(' ')}`);
  return losses;
}

/** Starts on what the cut has left and lets it finish its work; answers how many of the events have no mail. */
async function missing(dataDir: string, key: string, promised: readonly number[]): Promise<number> {
  const revived = await Multilith.start({ dataDir });
  try {
    const workspace = new TestWorkspace(revived.url, key);
    await settled(workspace);
    const mails = await outboxSubjects(workspace);
    const distinct = new Set(mails);
    assert.equal(distinct.size, mails.length, 'an event had its effect twice');
    return promised.filter((number) => !distinct.has(String(number))).length;
  } finally {
    await revived.kill();
  }
}

/** Resolves when the queues have been empty for a while: between two queues a message is in an outbox. */
async function settled(workspace: TestWorkspace): Promise<void> {
  for (let looks = 0; looks < 10; looks++) {
    await workspace.until('/metrics', (metrics: string) => {
      const busy = /^multilith_queue_messages\{.*\} [1-9]/m.test(metrics);
      if (busy) looks = 0;
      return !busy;
    }, 60_000);
    await sleep(50);
  }
}

async function outboxSubjects(workspace: TestWorkspace): Promise<string[]> {
  const subjects: string[] = [];
  for (let after = ''; ; ) {
    const page = await workspace.ask('GET', `/api/v1/outbox?limit=200${after && `&after=${encodeURIComponent(after)}`}`);
    subjects.push(...page.items.map((mail: { subject: string }) => mail.subject));
    if (page.next === null) return subjects;
    after = page.next;
  }
}

test(`${CUTS} power cuts of a whole process lose no event that was acknowledged`, { timeout: 600_000 }, async (t) => {
  const losses = await campaign(t, seeded((line) => t.diagnostic(line)), { execArgv: [], cuts: CUTS, untilLoss: true });
  assert.deepEqual(losses.filter((lost) => lost > 0), []);
});

test('control: with the disk left out the same check finds losses', { timeout: 600_000 }, async (t) => {
  const execArgv = ['--import', join(import.meta.dirname, '../support/no-fdatasync.js')];
  const losses = await campaign(t, seeded((line) => t.diagnostic(line)), { execArgv, cuts: CUTS * 5, untilLoss: true });
  assert.ok(losses.some((lost) => lost > 0), 'the check cannot fail, so it proves nothing');
});
