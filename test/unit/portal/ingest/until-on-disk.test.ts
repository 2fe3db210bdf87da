import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { ApiKeys } from '../../../../modules/portal/access/api-keys.ts';
import { Workspaces } from '../../../../modules/portal/access/workspaces.ts';
import { IngestSurface } from '../../../../modules/portal/ingest/ingest-surface.ts';
import { IngestSettings } from '../../../../modules/portal/ingest/settings.ts';
import { systemClock } from '../../../../src/kernel/clock.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import type { Publisher } from '../../../../src/kernel/message.ts';
import { noMetrics, silentLog } from '../../../support/context.ts';
import { openPortalStore } from '../../../support/portal-store.ts';

/** The surface over a queue whose outcome the test decides. */
async function serving(publishJson: Publisher['publishJson'], check: (post: (filling?: string) => Promise<Response>) => Promise<void>): Promise<void> {
  const { store, close } = await openPortalStore(systemClock);
  const keys = new ApiKeys(store, systemClock, silentLog);
  const { secret } = await store.transaction(async (tx) => {
    const { workspaceId } = await new Workspaces(store, systemClock).create(tx, 'First');
    return keys.create(tx, { workspace: workspaceId, name: 'k', scopes: ['ingest'], createdBy: 'test' });
  });
  const publisher: Publisher = { publish: () => Promise.reject(new Error('not used')), publishJson };
  const surface = new IngestSurface(keys, publisher, systemClock, silentLog, noMetrics, { ingest: IngestSettings.parse({ requestTimeoutMs: 2_000, maxInFlightBytes: 1_000_000 }) });
  const server = createServer((request, response) => void surface.handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/batch`;
  try {
    await check((filling = '') => fetch(url, { method: 'POST', body: JSON.stringify({ writeKey: secret, batch: [{ type: 'track', userId: 'u', event: 'e' }], filling }) }));
  } finally {
    server.closeAllConnections();
    server.close();
    await close();
  }
}

test('success is not told before the queue has the batch', async () => {
  let onDisk: (() => void) | undefined;
  const asked = Promise.withResolvers<void>();
  await serving(
    () => {
      asked.resolve();
      return new Promise<void>((resolve) => (onDisk = resolve));
    },
    async (post) => {
      let answered = false;
      const reply = post().then((response) => {
        answered = true;
        return response;
      });
      await asked.promise;
      for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
      assert.equal(answered, false);
      onDisk!();
      assert.equal((await reply).status, 200);
    },
  );
});

test('a queue that hangs is answered in time, to be sent again', async () => {
  await serving(() => new Promise(() => {}), async (post) => {
    const reply = await post();
    assert.deepEqual([reply.status, reply.headers.get('retry-after'), ((await reply.json()) as { reason: string }).reason], [503, '1', 'not_written']);
  });
});

test('a queue that is full says when to come back', async () => {
  await serving(() => Promise.reject(new Fault('exhausted', 'Full.', { details: { retryAfterMs: 6_500 } })), async (post) => {
    const reply = await post();
    assert.deepEqual([reply.status, reply.headers.get('retry-after')], [429, '7']);
  });
});

test('a queue that is away, or broken, is no success', async () => {
  for (const [fault, status] of [[new Fault('unavailable', 'Away.'), 503], [new Error('secret inside'), 500]] as const) {
    await serving(() => Promise.reject(fault), async (post) => {
      const reply = await post();
      assert.equal(reply.status, status);
      assert.ok(!(await reply.text()).includes('secret inside'));
    });
  }
});

test('more than memory allows is told to come back, and is taken as soon as there is room', async () => {
  const waiting: (() => void)[] = [];
  let both = Promise.withResolvers<void>();
  await serving(
    () => {
      if (waiting.length === 1) both.resolve();
      return new Promise<void>((resolve) => waiting.push(resolve));
    },
    async (post) => {
      const held = [post('x'.repeat(495_000)), post('x'.repeat(495_000))];
      await both.promise;
      const refused = await post();
      assert.deepEqual([refused.status, refused.headers.get('retry-after'), ((await refused.json()) as { reason: string }).reason], [429, '1', 'overloaded']);
      for (const go of waiting.splice(0)) go();
      for (const reply of await Promise.all(held)) assert.equal(reply.status, 200);
      both = Promise.withResolvers();
      const next = post();
      while (waiting.length === 0) await new Promise((resolve) => setImmediate(resolve));
      waiting[0]!();
      assert.equal((await next).status, 200);
    },
  );
});
