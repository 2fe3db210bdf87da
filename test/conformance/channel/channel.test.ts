import assert from 'node:assert/strict';
import { describe, it, type TestContext as Test } from 'node:test';
import { channelDrivers } from '../../../adapters/channel/catalog.ts';
import { storageDrivers } from '../../../adapters/storage/catalog.ts';
import type { Channel, ChannelMessage } from '../../../src/ports/channel.ts';
import { testContext } from '../../support/context.ts';
import { SmtpFaultServer } from '../../support/smtp-fault-server.ts';

type Name = keyof typeof channelDrivers;

interface ChannelUnderTest {
  readonly channel: Channel;
  /** Mails that the other side has, by delivery. */
  received(): Promise<string[]>;
}

const NEVER = new AbortController().signal;
const message = (deliveryId: string, workspace = 'w1'): ChannelMessage => ({
  deliveryId,
  workspace,
  envelope: { from: 'a@agency.example', to: 'b@example.org' },
  raw: Buffer.from(`From: a@agency.example\r\nTo: b@example.org\r\nSubject: ${deliveryId}\r\n\r\n.dot\r\nbody\r\n`),
});

/** How each driver gets something to talk to; a driver in the catalog without its line here is a compile error. */
const OPEN: Readonly<Record<Name, (t: Test) => Promise<ChannelUnderTest>>> = {
  async outbox(t) {
    const context = testContext();
    t.after(() => context.remove());
    const openStorage = (name: string) => storageDrivers.sqlite.create(storageDrivers.sqlite.settings.parse({}), { ...context, name });
    const channel = channelDrivers.outbox.create(channelDrivers.outbox.settings.parse({}), { ...context, name: 'email', openStorage });
    return { channel, received: async () => (await channel.kept!.list('w1', { limit: 200 })).mails.map(({ deliveryId }) => deliveryId) };
  },
  async smtp(t) {
    const server = new SmtpFaultServer();
    const port = await server.listen();
    t.after(() => server.close());
    const context = testContext();
    t.after(() => context.remove());
    const channel = channelDrivers.smtp.create(channelDrivers.smtp.settings.parse({ host: '127.0.0.1', port, connections: 5 }), context);
    return { channel, received: async () => server.mails.map(({ wire }) => /^Subject: (.*)\r$/m.exec(wire)![1]!) };
  },
};

for (const name of Object.keys(channelDrivers) as Name[]) {
  describe(`channel ${name}`, () => {
    const open = async (t: Test, start = true): Promise<ChannelUnderTest> => {
      const under = await OPEN[name](t);
      t.after(() => under.channel.stop(1_000));
      if (start) await under.channel.start();
      return under;
    };

    it('accepts a message and passes it on', async (t) => {
      const { channel, received } = await open(t);
      const result = await channel.send(message('d1'), NEVER);
      assert.equal(result.kind, 'accepted');
      assert.notEqual(result.reason, '');
      assert.deepEqual(await received(), ['d1']);
    });

    it('takes many at once, more than its capacity, each once', async (t) => {
      const { channel, received } = await open(t);
      assert.ok(channel.capacity >= 1);
      const ids = Array.from({ length: channel.capacity * 3 }, (_, i) => `d${i}`).slice(0, 200);
      const results = await Promise.all(ids.map((id) => channel.send(message(id), NEVER)));
      assert.deepEqual(new Set(results.map(({ kind }) => kind)), new Set(['accepted']));
      assert.deepEqual((await received()).sort(), ids.sort());
    });

    it('answers deferred, and does not throw, before it starts and after it stops', async (t) => {
      const { channel } = await open(t, false);
      assert.equal((await channel.send(message('early'), NEVER)).kind, 'deferred');
      await channel.start();
      await channel.stop(1_000);
      assert.equal((await channel.send(message('late'), NEVER)).kind, 'deferred');
    });

    it('starts and stops twice, stops unstarted, and stops while starting', async (t) => {
      const { channel } = await open(t, false);
      await Promise.all([channel.start(), channel.start()]);
      await Promise.all([channel.stop(1_000), channel.stop(1_000)]);
      await (await open(t, false)).channel.stop(1_000);
      const { channel: third } = await open(t, false);
      const starting = third.start();
      await third.stop(1_000);
      await starting.catch(() => {});
    });

    it('finishes what is under way when it stops', async (t) => {
      const { channel } = await open(t);
      const sending = Array.from({ length: 3 }, (_, i) => channel.send(message(`d${i}`), NEVER));
      await channel.stop(5_000);
      for (const result of await Promise.all(sending)) assert.ok(result.kind === 'accepted' || result.kind === 'deferred', result.kind);
    });

    it('says whether the other side can be reached', async (t) => {
      const { channel } = await open(t);
      const { ok, detail } = await channel.check();
      assert.equal(ok, true);
      assert.match(detail, /\w/);
    });
  });
}

describe('what a channel keeps', () => {
  const openOutbox = async (t: Test, settings: object) => {
    const context = testContext();
    const openStorage = (name: string) => storageDrivers.sqlite.create(storageDrivers.sqlite.settings.parse({}), { ...context, name });
    const channel = channelDrivers.outbox.create(channelDrivers.outbox.settings.parse(settings), { ...context, name: 'email', openStorage });
    t.after(async () => {
      await channel.stop(1_000);
      context.remove();
    });
    await channel.start();
    return channel;
  };

  it('is listed newest first, page by page, per workspace, with the head of each mail', async (t) => {
    const channel = await openOutbox(t, {});
    for (let i = 0; i < 25; i++) await channel.send(message(`d${i}`), NEVER);
    await channel.send(message('foreign', 'w2'), NEVER);
    const seen: string[] = [];
    let after: string | null = null;
    do {
      const page: Awaited<ReturnType<NonNullable<Channel['kept']>['list']>> = await channel.kept!.list('w1', { limit: 10, ...(after !== null && { after }) });
      seen.push(...page.mails.map(({ deliveryId }) => deliveryId));
      assert.match(Buffer.from(page.mails[0]!.raw).toString(), /^From: a@agency/);
      after = page.next;
    } while (after !== null);
    assert.deepEqual(seen, Array.from({ length: 25 }, (_, i) => `d${24 - i}`));
    assert.equal(await channel.kept!.read('w1', 'foreign'), null);
  });

  it('is read as it was sent, and once for a delivery that is repeated', async (t) => {
    const channel = await openOutbox(t, {});
    for (const _ of [1, 2]) await channel.send(message('d1'), NEVER);
    assert.deepEqual(Buffer.from((await channel.kept!.read('w1', 'd1'))!.raw), Buffer.from(message('d1').raw));
    assert.equal((await channel.kept!.list('w1', { limit: 10 })).mails.length, 1);
  });

  it('is forgotten on demand, in that workspace only', async (t) => {
    const channel = await openOutbox(t, {});
    for (const [id, workspace] of [['d1', 'w1'], ['d2', 'w1'], ['d3', 'w1'], ['d1', 'w2']] as const) await channel.send(message(id, workspace), NEVER);
    for (const _ of [1, 2]) await channel.kept!.forget('w1', ['d1', 'd3', 'unknown']);
    await channel.kept!.forget('w1', []);
    assert.deepEqual((await channel.kept!.list('w1', { limit: 10 })).mails.map(({ deliveryId }) => deliveryId), ['d2']);
    assert.notEqual(await channel.kept!.read('w2', 'd1'), null);
  });

  it('is bounded: the oldest go', async (t) => {
    const channel = await openOutbox(t, { keepMails: 10 });
    for (let i = 0; i < 45; i++) await channel.send(message(`d${i}`), NEVER);
    await channel.send(message('other', 'w2'), NEVER);
    const { mails } = await channel.kept!.list('w1', { limit: 100 });
    assert.ok(mails.length >= 10 && mails.length < 20, `${mails.length}`);
    assert.equal(mails[0]!.deliveryId, 'd44');
    assert.equal((await channel.kept!.list('w2', { limit: 100 })).mails.length, 1);
  });
});
