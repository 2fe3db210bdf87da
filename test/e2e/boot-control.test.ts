import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askHost } from '../../src/app/control/client.ts';
import { runCli } from '../support/cli.ts';
import { Multilith } from '../support/multilith.ts';

const json = async (text: Promise<{ out: string }>) => JSON.parse((await text).out) as never;

test('the command line acts on the queues of a running host', async () => {
  const server = await Multilith.start();
  const env = { MULTILITH_DATA: server.dataDir };
  const queue = 'portal.ingest-batch';
  try {
    assert.equal((await runCli(['queues', 'pause', queue], { env })).code, 0);
    const { secret } = (await askHost(server.dataDir, 'app', 'POST', '/operator/portal/demo-key', {})) as { secret: string };
    const post = () => fetch(`${server.url}/v1/track`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ writeKey: secret, userId: 'u-1', event: 'Quote Requested' }) });
    assert.deepEqual([(await post()).status, (await post()).status], [200, 200]);
    const state: { paused: boolean; ready: { normal: number } } = await json(runCli(['queues', 'inspect', queue, '--json'], { env }));
    assert.deepEqual([state.paused, state.ready.normal], [true, 2]);
    const page: { messages: { payload: string }[] } = await json(runCli(['queues', 'browse', queue, '--json'], { env }));
    assert.equal(page.messages.length, 2);
    assert.deepEqual(await json(runCli(['queues', 'purge', queue, '--all', '--json'], { env })), { queue, purged: 2 });
    assert.equal((await runCli(['queues', 'resume', queue], { env })).code, 0);
    const unknown = await runCli(['queues', 'pause', 'no.such'], { env });
    assert.deepEqual([unknown.code, unknown.error.split('\n').length], [1, 2]);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    assert.match(metrics, /multilith_queue_messages\{queue="portal\.ingest-batch",state="ready_normal"\} 0/);
  } finally {
    await server.dispose();
  }
});

test('the demo fills a workspace through the public API, and running it twice makes nothing twice', async () => {
  const server = await Multilith.start();
  const env = { MULTILITH_DATA: server.dataDir };
  try {
    for (const run of [1, 2]) {
      const { code, out, error } = await runCli(['demo', '--people', '40', '--events', '25', '--rate', '50', '--seed', '7'], { env });
      assert.equal(code, 0, `run ${run}: ${error}`);
      assert.ok(out.includes(`${server.url}/outbox`), out);
    }
    const { secret } = (await askHost(server.dataDir, 'app', 'POST', '/operator/portal/demo-key', {})) as { secret: string };
    const get = async (path: string) => (await (await fetch(`${server.url}/api/v1${path}`, { headers: { authorization: `Bearer ${secret}` } })).json()) as { items: { name: string; userId: string; enabled: boolean; subject: string }[] };
    const until = async (path: string, enough: (items: { userId: string }[]) => boolean) => {
      const deadline = Date.now() + 20_000;
      for (;;) {
        const { items } = await get(path);
        if (enough(items)) return items;
        assert.ok(Date.now() < deadline, `${path} has ${items.length}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    assert.equal((await until('/people?limit=100', (items) => items.length >= 40)).length, 40);
    assert.deepEqual([(await get('/templates?limit=100')).items.length, (await get('/automations?limit=100')).items.length], [4, 4]);
    assert.ok((await get('/automations?limit=100')).items.every(({ enabled }) => enabled));
    await until('/outbox?limit=100', (items) => items.length > 0);
    await until('/agenda?limit=100', (items) => items.length > 0);
  } finally {
    await server.dispose();
  }
});
