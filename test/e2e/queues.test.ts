import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { probe } from '../../src/app/config/parts.ts';
import { createBus } from '../../src/app/host/drivers.ts';
import { parts } from '../../src/app/parts.ts';
import { runCli } from '../support/cli.ts';
import { withDeadLetters } from '../support/dead-letters.ts';
import { messageTo, queueOf } from '../support/buses.ts';
import { Multilith } from '../support/multilith.ts';
import { TestSystem } from '../support/topologies.ts';
import { TestWorkspace } from '../support/workspace.ts';

const QUEUE = 'suite.mails';
/** As a module of an older build subscribed to it. */
const OLD_QUEUE = 'older.portal.event-recorded';
const EACH = 10_000;
/** The aim for 10,000 filtered and requeued. */
const AIM_MS = 10_000;

type Headers = Readonly<Record<string, string>>;

describe('dead messages of a running host: 10,000 of each of two workspaces and two reasons', () => {
  let server: Multilith;
  let operator: Headers;
  const workspaces: { id: string; key: Headers }[] = [];

  before(async () => {
    server = await Multilith.start();
    const link = /http:\S+\/setup\/\S+/.exec(server.output)![0];
    const made = await fetch(link, { method: 'POST', body: new URLSearchParams({ email: 'owner@agency.example', password: 'correct horse battery', workspace: 'First' }), redirect: 'manual', signal: AbortSignal.timeout(15_000) });
    operator = { cookie: made.headers.getSetCookie()[0]!.split(';')[0]!, 'sec-fetch-site': 'same-origin' };
    const ids = [(await ask('GET', '/session', operator)).workspaceId, (await ask('POST', '/workspaces', operator, { name: 'Second' })).workspaceId];
    for (const id of ids) {
      const { secret } = await ask('POST', '/api-keys', { ...operator, 'multilith-workspace': id }, { name: 'tests', scopes: ['ingest', 'read', 'admin'] });
      workspaces.push({ id, key: { authorization: `Bearer ${secret}` } });
    }
    const { dataDir } = server;
    await server.stop();
    const bus = createBus({ driver: 'embedded', settings: parts.bus.embedded!.settings.parse({}) }, parts, probe(dataDir));
    await bus.start();
    await withDeadLetters(bus, QUEUE, Array.from({ length: 2 * EACH }, (_, i) => ({ id: `m${i}`, workspace: ids[i % 2]!, reason: i % 4 < 2 ? 'mailbox full' : 'no such user', lane: i % 3 === 0 ? 'bulk' : 'normal' })));
    await bus.declare(queueOf(OLD_QUEUE, { topics: ['portal.event-recorded'] }));
    await bus.publish([messageTo(OLD_QUEUE, { name: 'portal.event-recorded' })]);
    await bus.stop(10_000);
    server = await Multilith.start({ dataDir });
  });
  after(() => server?.dispose());

  async function ask(method: string, path: string, headers: Headers, body?: object): Promise<any> {
    const reply = await fetch(`${server.url}/api/v1${path}`, { method, headers: { ...headers, ...(body && { 'content-type': 'application/json' }) }, ...(body && { body: JSON.stringify(body) }), signal: AbortSignal.timeout(15_000) });
    const text = await reply.text();
    assert.ok(reply.ok, `${method} ${path}: ${reply.status} ${text}`);
    return JSON.parse(text);
  }

  const deadOf = async (workspace: { key: Headers }): Promise<number> => (await ask('GET', `/queues/${QUEUE}`, workspace.key)).dead;
  const cli = (...args: string[]) => runCli(['queues', ...args, '--json'], { env: { MULTILITH_DATA: server.dataDir } });

  it('are requeued by filter over the API in time, part after part, and nobody else’s with them', async () => {
    const [first, second] = workspaces as [(typeof workspaces)[0], (typeof workspaces)[0]];
    const parts: number[] = [];
    const began = performance.now();
    for (let after: string | null | undefined; after !== null; ) {
      const { requeued, next } = await ask('POST', `/queues/${QUEUE}/requeue`, first.key, { name: 'suite.mail', ...(after !== undefined && { after }) });
      parts.push(requeued);
      after = next;
    }
    const tookMs = performance.now() - began;
    assert.equal(parts.reduce((sum, count) => sum + count, 0), EACH);
    assert.ok(parts.length >= 3, `told in ${parts.length} parts`);
    assert.ok(tookMs < AIM_MS, `${Math.round(tookMs)} ms`);
    assert.deepEqual([await deadOf(first), await deadOf(second)], [0, EACH]);
    const { depth, status, dead } = await ask('GET', `/queues/${QUEUE}`, operator);
    assert.deepEqual([depth, status, dead], [EACH, 'unattended', EACH]);
  });

  it('are requeued by filter on the command line, with word of how far it is', async () => {
    const second = workspaces[1]!;
    const half = await cli('requeue', QUEUE, '--workspace', second.id, '--reason', 'mailbox full');
    assert.deepEqual([half.code, JSON.parse(half.out)], [0, { queue: QUEUE, requeued: EACH / 2 }], half.error);
    const rest = await cli('requeue', QUEUE, '--workspace', second.id);
    assert.deepEqual([rest.code, JSON.parse(rest.out)], [0, { queue: QUEUE, requeued: EACH / 2 }], rest.error);
    const told = JSON.parse(half.error.split('\n')[0]!) as { queue: string; requeued: number; done: boolean };
    assert.ok(told.queue === QUEUE && told.requeued > 0 && told.requeued < EACH / 2 && !told.done, half.error);
    assert.equal(await deadOf(second), 0);
  });

  it('are seen on the command line as over the API, without what is personal', async () => {
    const [first] = workspaces as [(typeof workspaces)[0]];
    const inspected = JSON.parse((await cli('inspect', QUEUE, '--workspace', first.id)).out);
    const asked = await ask('GET', `/queues/${QUEUE}`, first.key);
    assert.deepEqual({ ...inspected, oldestMs: 0 }, { ...asked, oldestMs: 0 });
    const [shown] = (await ask('GET', `/queues/${QUEUE}/messages?limit=1`, first.key)).items;
    const [browsed] = JSON.parse((await cli('browse', QUEUE, '--workspace', first.id, '--limit', '1')).out).messages;
    assert.deepEqual(shown, browsed);
    assert.equal(JSON.parse(shown.payload).email, '[redacted]');
  });

  it('are purged by filter, part after part', async () => {
    const { code, out } = await cli('purge', QUEUE, '--workspace', workspaces[0]!.id);
    assert.deepEqual([code, JSON.parse(out)], [0, { queue: QUEUE, purged: EACH }]);
    let purged = 0;
    for (let after: string | null | undefined; after !== null; ) {
      const part = await ask('POST', `/queues/${QUEUE}/purge`, operator, { dead: false, all: true, ...(after !== undefined && { after }) });
      purged += part.purged;
      after = part.next;
    }
    assert.equal(purged, EACH);
    assert.equal((await ask('GET', `/queues/${QUEUE}`, operator)).status, 'idle');
  });

  it('of an older build are told of at the start, filled on, and get no more once they are forgotten', async () => {
    await server.says(/no module has a use for what waits/);
    const [line] = server.output.split('\n').filter((text) => text.includes('no module has a use for what waits'));
    assert.deepEqual(JSON.parse(line!).queues.sort(), [OLD_QUEUE, QUEUE]);
    let sent = 0;
    const recorded = async (): Promise<number> => {
      const before = (await ask('GET', '/queues/trigger.portal.event-recorded', operator)).lastPublished ?? 0;
      const event = { type: 'track', userId: 'ada', event: 'Greeted', messageId: `old-${sent++}` };
      await new TestWorkspace(server.url, workspaces[0]!.key.authorization!.slice('Bearer '.length)).send([event]);
      for (;;) if ((await ask('GET', '/queues/trigger.portal.event-recorded', operator)).lastPublished > before) break;
      return (await ask('GET', `/queues/${OLD_QUEUE}`, operator)).depth;
    };
    assert.equal(await recorded(), 2);
    const forgotten = await cli('forget', OLD_QUEUE, '--all');
    assert.deepEqual([forgotten.code, JSON.parse(forgotten.out)], [0, { queue: OLD_QUEUE, purged: 2 }]);
    assert.equal(await recorded(), 0);
    const refused = await cli('forget', 'trigger.portal.event-recorded', '--all');
    assert.deepEqual([refused.code, /has a use for/.test(refused.error)], [1, true]);
  });
});

describe('queues that another host keeps', () => {
  let system: TestSystem;
  let workspace: TestWorkspace;

  before(async () => {
    system = await TestSystem.start({ hosts: { work: ['trigger', 'notification'], web: ['portal'] } });
    workspace = await TestWorkspace.create(system);
  });
  after(() => system?.dispose());

  it('are seen and held back by the host with the API', async () => {
    const { items } = await workspace.ask('GET', '/api/v1/queues');
    for (const queue of ['portal.ingest-batch', 'trigger.portal.event-recorded', 'notification.send-requested']) assert.ok(items.some(({ name, consumers, concurrency }: { name: string; consumers: number; concurrency: number }) => name === queue && consumers > 0 && concurrency > 0), queue);
    const held = await workspace.ask('POST', '/api/v1/queues/trigger.portal.event-recorded/pause', {});
    assert.equal(held.status, 'paused');
    await workspace.send([{ type: 'track', userId: 'ada', event: 'Greeted', messageId: 'm1', properties: { line: 'Auto' } }]);
    await workspace.until('/api/v1/queues/trigger.portal.event-recorded', ({ depth }: { depth: number }) => depth === 1);
    const [message] = (await workspace.ask('GET', '/api/v1/queues/trigger.portal.event-recorded/messages')).items;
    const { name, person, properties } = JSON.parse(message.payload);
    assert.deepEqual([name, person, properties], ['Greeted', '[redacted]', '[redacted]']);
    assert.deepEqual(await workspace.ask('POST', '/api/v1/queues/trigger.portal.event-recorded/purge', { dead: false, name: 'portal.nothing' }), { purged: 0, next: null });
    await workspace.ask('POST', '/api/v1/queues/trigger.portal.event-recorded/resume', {});
    await workspace.until('/api/v1/queues/trigger.portal.event-recorded', ({ status }: { status: string }) => status === 'idle');
  });
});
