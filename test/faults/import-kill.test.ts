import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { Multilith } from '../support/multilith.ts';
import { TestWorkspace } from '../support/workspace.ts';

const ROWS = isLong ? 60_000 : 3_000;
const KILLS = isLong ? 20 : 1;
const REFUSED_EACH = 50;

test('an import whose host is killed goes on at its batch: everybody is there, in the segments that were made meanwhile too, and nobody was written twice', { timeout: isLong ? 900_000 : 120_000 }, async () => {
  let host = await Multilith.start();
  const { dataDir } = host;
  try {
    let workspace = await TestWorkspace.create(host);
    // Two rows of each, which a batch takes as one change: taken again they would be two more.
    const lines = Array.from({ length: ROWS }, (_, n) => (n % REFUSED_EACH === 0 ? `u${n >> 1},no address` : `u${n >> 1},u${n}@example.com`));
    const sent = await fetch(`${host.url}/api/v1/imports`, { method: 'POST', body: `userId,email\n${lines.join('\n')}\n`, headers: { authorization: `Bearer ${workspace.key}`, 'content-type': 'text/csv' } });
    const { importId } = (await sent.json()) as { importId: string };
    const path = `/api/v1/imports/${importId}`;
    const segment = async () => void (await workspace.ask('POST', '/api/v1/segments', { name: 'Reachable', condition: { field: 'person.email', op: 'exists' } }));
    await segment();
    let rowsRead = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      ({ rowsRead } = await workspace.until(path, (now) => now.rowsRead > rowsRead));
      await segment();
      await host.kill();
      assert.ok(rowsRead < ROWS, 'it was killed in the middle');
      host = await Multilith.start({ dataDir });
      workspace = new TestWorkspace(host.url, workspace.key);
    }
    const done = await workspace.until(path, ({ state }) => state !== 'running');
    assert.deepEqual([done.state, done.rowsAccepted, done.rowsRefused, done.bytesRead], ['done', ROWS - ROWS / REFUSED_EACH, ROWS / REFUSED_EACH, done.bytes]);
    const versions = new Map<number, number>();
    for (let after = ''; ; ) {
      const { items, next } = await workspace.ask('GET', `/api/v1/people?limit=200${after}`);
      for (const { version } of items) versions.set(version, (versions.get(version) ?? 0) + 1);
      if (next === null) break;
      after = `&after=${encodeURIComponent(next)}`;
    }
    assert.deepEqual([...versions], [[1, ROWS / 2]]);
    const { items } = await workspace.until('/api/v1/segments', (now) => now.items.every((one: { state: string }) => one.state === 'ready'));
    assert.deepEqual(items.map(({ people }: { people: number }) => people), Array.from({ length: KILLS + 1 }, () => ROWS / 2));
  } finally {
    await host.dispose();
  }
});
