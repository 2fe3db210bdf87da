import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Forgetting } from '../../../../modules/portal/ingest/forgetting.ts';
import { IngestSettings } from '../../../../modules/portal/ingest/settings.ts';
import { silentLog } from '../../../support/context.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { openPortalStore } from '../../../support/portal-store.ts';

const DAY_MS = 86_400_000;

test('messageIds and erased names are forgotten when they are old, and none before', async () => {
  const clock = new FakeClock();
  const { store, close } = await openPortalStore(clock);
  const forgetting = new Forgetting(store, clock, silentLog, { ingest: IngestSettings.parse({ messageIdDays: 7 }) });
  try {
    await store.transaction(async (tx) => {
      for (let i = 0; i < 1_200; i++) await tx.db.insertInto('seen_messages').values({ workspace_id: `w${i % 3}`, message_id: `m${i}`, seen_at: clock.now() - (i % 2) * 6 * DAY_MS }).execute();
      for (const age of [0, 6]) await tx.db.insertInto('erased_identities').values({ workspace_id: 'w', hash: `h${age}`, erased_at: clock.now() - age * DAY_MS }).execute();
    });
    await forgetting.start();
    const left = async () => ({
      messages: (await store.db.selectFrom('seen_messages').select((eb) => eb.fn.countAll<number>().as('n')).executeTakeFirstOrThrow()).n,
      names: (await store.db.selectFrom('erased_identities').select('hash').execute()).map((row) => row.hash),
    });
    // The next round is set when the one before has ended.
    const round = async (ms: number) => {
      await clock.advance(ms);
      while (clock.pending === 0) await new Promise((resolve) => setImmediate(resolve));
    };
    await round(600_000);
    assert.deepEqual(await left(), { messages: 1_200, names: ['h0', 'h6'] });
    await round(DAY_MS);
    await round(600_000);
    assert.deepEqual(await left(), { messages: 600, names: ['h0'] });
  } finally {
    await forgetting.stop(1_000);
    assert.equal(clock.pending, 0);
    await close();
  }
});
