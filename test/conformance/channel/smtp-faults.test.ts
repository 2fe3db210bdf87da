import assert from 'node:assert/strict';
import { describe, it, type TestContext as Test } from 'node:test';
import { smtp, SmtpSettings } from '../../../adapters/channel/smtp/driver.ts';
import type { Channel, ChannelResult } from '../../../src/ports/channel.ts';
import { testContext } from '../../support/context.ts';
import { SmtpFaultServer, type SmtpFault, type SmtpScript, type SmtpStep } from '../../support/smtp-fault-server.ts';

const NEVER = new AbortController().signal;
/** Short, so that what hangs is found out within the test. */
const IMPATIENT = { connectTimeoutMs: 300, commandTimeoutMs: 300, messageTimeoutMs: 400, restFirstMs: 50, restMostMs: 200 };

async function withServer(t: Test, script: SmtpScript, settings: object = {}): Promise<{ server: SmtpFaultServer; channel: Channel }> {
  const server = new SmtpFaultServer(script);
  const port = await server.listen();
  const context = testContext();
  const channel = smtp.create(SmtpSettings.parse({ host: '127.0.0.1', port, ...IMPATIENT, ...settings }), context);
  await channel.start();
  t.after(async () => {
    await channel.stop(500);
    await server.close();
    context.remove();
  });
  return { server, channel };
}

function send(channel: Channel, id = 'd1', change: { body?: string; to?: string; from?: string; signal?: AbortSignal } = {}): Promise<ChannelResult> {
  const { body = 'Hello\r\n', to = 'b@example.org', from = 'a@agency.example', signal = NEVER } = change;
  return channel.send({ deliveryId: id, workspace: 'w1', envelope: { from, to }, raw: Buffer.from(`Subject: ${id}\r\n\r\n${body}`, 'latin1') }, signal);
}

/** Bigger than what sockets take at once, so that the server can stop in the middle. */
const BIG = `${'x'.repeat(998)}\r\n`.repeat(20_000);
const STEPS_BEFORE: SmtpStep[] = ['greeting', 'ehlo', 'mail', 'rcpt', 'data'];
const VERBS: Partial<Record<SmtpStep, string>> = { ehlo: 'EHLO', mail: 'MAIL', rcpt: 'RCPT', data: 'DATA' };
/** As in production: what hangs would be waited for longer than a stop may take. */
const PATIENT = { connectTimeoutMs: 30_000, commandTimeoutMs: 60_000, messageTimeoutMs: 60_000 };

describe('an SMTP server that misbehaves', () => {
  for (const pipelining of [true, false]) {
    const extensions = pipelining ? ['PIPELINING', 'SIZE 50000000'] : ['SIZE 50000000'];
    const name = pipelining ? 'with pipelining' : 'step by step';

    it(`closing, resetting or hanging before the message was handed over defers it (${name})`, async (t) => {
      for (const step of STEPS_BEFORE) {
        for (const fault of [{ drop: true }, { drop: true, reset: true }, { hang: true }] satisfies SmtpFault[]) {
          const { channel, server } = await withServer(t, { faults: { [step]: fault }, extensions });
          const result = await send(channel);
          assert.deepEqual([result.kind, server.mails.length], ['deferred', 0], `${step} ${JSON.stringify(fault)} ${JSON.stringify(result)}`);
        }
      }
    });

    it(`refusing at a step is told with its words (${name})`, async (t) => {
      for (const step of ['mail', 'rcpt', 'data', 'dot'] as const) {
        for (const [say, kind, reason] of [['550 5.7.1 Not you\r\n', 'rejected', '5.7.1'], ['450 4.2.0 Greylisted\r\n', 'deferred', '4.2.0'], ['552 full\r\n', 'rejected', 'smtp_552'], ['421 4.3.2 Closing\r\n', 'deferred', '4.3.2']] as const) {
          const { channel } = await withServer(t, { faults: { [step]: [{ say }] }, extensions });
          const result = await send(channel);
          assert.deepEqual(result, { kind, reason, response: say.trim() }, `${step} ${say}`);
          const next = await send(channel, 'd2');
          assert.equal(next.kind, 'accepted', `after ${step} ${say}: ${JSON.stringify(next)}`);
        }
      }
    });
  }

  it('refusing at the greeting, the hello or the login says nothing about the message', async (t) => {
    for (const faults of [{ greeting: { say: '554 5.3.2 No service\r\n' } }, { greeting: { sayAndClose: '421 4.3.2 Busy\r\n' } }, { ehlo: { say: '421 4.3.2 Busy\r\n' } }]) {
      const { channel } = await withServer(t, { faults });
      assert.equal((await send(channel)).kind, 'deferred');
    }
    const { channel } = await withServer(t, { extensions: ['AUTH PLAIN'] }, { username: 'u', password: 'secret-word' });
    const result = await send(channel);
    assert.deepEqual([result.kind, result.reason], ['deferred', 'login_refused']);
    assert.doesNotMatch(JSON.stringify(result), /secret-word|AHUAc2Vj/);
  });

  it('falling silent after the message was handed over leaves it uncertain', async (t) => {
    for (const fault of [{ drop: true }, { drop: true, reset: true }, { hang: true }, { sayAndClose: '25' }] satisfies SmtpFault[]) {
      const { channel, server } = await withServer(t, { faults: { dot: fault } });
      const result = await send(channel);
      assert.deepEqual([result.kind, server.mails.length], ['uncertain', 1], JSON.stringify(result));
    }
  });

  it('closing in the middle of a message defers it at once: the end was never sent', async (t) => {
    for (const fault of [{ drop: true }, { drop: true, reset: true }] satisfies SmtpFault[]) {
      const { channel, server } = await withServer(t, { faults: { content: fault }, contentBytes: 50_000 }, { messageTimeoutMs: 5_000 });
      const result = await send(channel, 'big', { body: BIG });
      assert.deepEqual([result.kind, result.reason, server.mails.length], ['deferred', 'connection_closed', 0], JSON.stringify(result));
    }
  });

  it('answering late but in time is waited for', async (t) => {
    const { channel, server } = await withServer(t, { faults: { dot: { say: '' } } }, { messageTimeoutMs: 3_000 });
    const sending = send(channel);
    while (server.mails.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    setTimeout(() => server.sayToAll('250 2.0.0 At last\r\n'), 600);
    assert.equal((await sending).response, '250 2.0.0 At last');
  });

  it('never ending a reply is cut off, and its memory is bounded', async (t) => {
    for (const endless of ['250-more\r\n', 'x'.repeat(10_000), `250-${'y'.repeat(1_000)}\r\n`]) {
      for (const step of ['greeting', 'ehlo', 'mail', 'dot'] as const) {
        const { channel } = await withServer(t, { faults: { [step]: { endless, everyMs: 1 } } });
        const result = await send(channel);
        assert.equal(result.kind, step === 'dot' ? 'uncertain' : 'deferred', `${step} ${JSON.stringify(result)}`);
        assert.ok(result.response.length <= 1_000);
      }
    }
  });

  it('sending a line of a megabyte is cut off', async (t) => {
    for (const step of ['greeting', 'rcpt', 'dot'] as const) {
      const { channel } = await withServer(t, { faults: { [step]: { say: `250 ${'z'.repeat(1_000_000)}\r\n` } } });
      const result = await send(channel);
      assert.notEqual(result.kind, 'rejected');
      assert.ok(result.response.length <= 1_000);
      if (step === 'greeting') assert.equal(result.kind, 'deferred');
    }
  });

  it('contradicting itself within one reply is not believed', async (t) => {
    for (const say of ['250-yes\r\n550 no\r\n', '550-no\r\n250 yes\r\n', '250-yes\r\nno\r\n', '999 what\r\n', 'hello\r\n', '100 go on\r\n', '354 more\r\n', '\u0000\u0001\r\n', '250-only the first line of two\r\n251 other code\r\n']) {
      const { channel } = await withServer(t, { faults: { dot: { say } } });
      const result = await send(channel);
      assert.equal(result.kind, 'uncertain', `${JSON.stringify(say)} ${JSON.stringify(result)}`);
    }
    for (const say of ['550-no\r\n250 yes\r\n', 'hello\r\n', '100 go on\r\n']) {
      const { channel, server } = await withServer(t, { faults: { rcpt: [{ say }] } });
      assert.deepEqual([(await send(channel)).kind, server.mails.length], ['deferred', 0], say);
    }
  });

  it('ending lines with a bare line feed is understood', async (t) => {
    const { channel } = await withServer(t, { faults: { mail: { say: '250 2.1.0 Ok\n' }, dot: { say: '250 2.0.0 Ok\n' } } });
    // The script's server notes sender and recipient only on its usual replies.
    assert.notEqual((await send(channel)).kind, 'rejected');
  });

  it('saying words that are not text is shown as text', async (t) => {
    const { channel } = await withServer(t, { faults: { rcpt: { say: '550 5.1.1 \u0007\u001b[31mno\tsuch\u0085 us\xff\xfeer\r\n' } } });
    const { response } = await send(channel);
    assert.match(response, /^550 5\.1\.1 /);
    assert.doesNotMatch(response, /[\u0000-\u001f\u007f-\u009f]/);
  });

  it('answering more than it was asked is not taken for answers to the next message', async (t) => {
    const { channel } = await withServer(t, { faults: { dot: [{ say: '250 2.0.0 Ok\r\n550 5.0.0 And another\r\n' }] } });
    assert.equal((await send(channel)).kind, 'accepted');
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal((await send(channel, 'd2')).kind, 'accepted');
  });

  it('closing idle connections costs no message a try', async (t) => {
    const { channel, server } = await withServer(t, {});
    for (let i = 0; i < 5; i++) {
      assert.equal((await send(channel, `d${i}`)).kind, 'accepted');
      server.dropAll();
    }
    assert.equal(server.mails.length, 5);
  });
});

describe('what goes over the wire', () => {
  it('holds no bare line ends and no line that ends the message early', async (t) => {
    const { channel, server } = await withServer(t, {});
    const bodies = ['a\n.\nMAIL FROM:<eve@example.org>\n', 'a\r.\rb', 'a\n.\r\nb', 'a\r\n.\nb', '\r\n.\r\nQUIT\r\n', '.', '..\r\n.', 'no end', '\r', '\n', 'x\r\n'];
    for (const [i, body] of bodies.entries()) assert.equal((await send(channel, `d${i}`, { body })).kind, 'accepted');
    assert.equal(server.mails.length, bodies.length);
    for (const { wire } of server.mails) {
      assert.doesNotMatch(wire.replaceAll('\r\n', ''), /[\r\n]/);
      assert.doesNotMatch(wire, /(^|\r\n)\.\r\n/);
    }
    assert.equal(server.commands.filter((line) => /eve|QUIT/.test(line)).length, 0);
  });

  it('has only addresses in the envelope', async (t) => {
    const { channel, server } = await withServer(t, {});
    for (const to of ['b@example.org>\r\nRCPT TO:<eve@example.org', 'b@example.org\r\nDATA', '<b@example.org>', '']) {
      const result = await send(channel, 'd1', { to });
      assert.deepEqual([result.kind, result.reason], ['rejected', 'invalid_address'], to);
    }
    assert.equal((await send(channel)).kind, 'accepted');
    assert.deepEqual(server.commands.filter((line) => line.startsWith('RCPT')), ['RCPT TO:<b@example.org>']);
  });

  it('is refused here when the server has said that it is too large', async (t) => {
    const { channel } = await withServer(t, { extensions: ['SIZE 1000'] });
    const result = await send(channel, 'd1', { body: 'x'.repeat(2_000) });
    assert.deepEqual([result.kind, result.reason], ['rejected', 'message_too_large']);
    assert.equal((await send(channel)).kind, 'accepted');
  });

  it('waits for TLS where TLS is asked for', async (t) => {
    const stripped = await withServer(t, { extensions: ['PIPELINING'] }, { security: 'starttls' });
    assert.equal((await send(stripped.channel)).kind, 'deferred');
    assert.equal(stripped.server.mails.length, 0);
    assert.ok(stripped.server.commands.every((line) => /^(EHLO|STARTTLS)/.test(line)), stripped.server.commands.join());
    // Replies that were slipped in before the handshake must not be read as if they had come after it.
    const injected = await withServer(t, { extensions: ['STARTTLS'], faults: { starttls: { say: '220 go\r\n250-faulty\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 taken\r\n' } } }, { security: 'starttls' });
    assert.equal((await send(injected.channel)).kind, 'deferred');
    assert.equal(injected.server.mails.length, 0);
  });
});

describe('the pool', () => {
  it('opens no more connections than it may, keeps them, and lets them go', async (t) => {
    const { channel, server } = await withServer(t, {}, { connections: 4, idleMs: 150, messagesPerConnection: 30 });
    const results = await Promise.all(Array.from({ length: 200 }, (_, i) => send(channel, `d${i}`)));
    assert.deepEqual(new Set(results.map(({ kind }) => kind)), new Set(['accepted']));
    assert.ok(server.mostOpen <= 4, `${server.mostOpen} open`);
    assert.ok(server.connections >= 7 && server.connections <= 12, `${server.connections} in all`);
    while (server.openNow > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  });

  it('rests after failures in a row, sends one probe, and comes back', async (t) => {
    const { channel, server } = await withServer(t, { faults: { greeting: { drop: true } } }, { connections: 2, restFirstMs: 200, restMostMs: 400 });
    assert.equal(channel.pausedUntil, null);
    for (let i = 0; i < 3; i++) assert.equal((await send(channel)).untried, undefined);
    assert.ok(channel.pausedUntil! > Date.now());
    const before = server.connections;
    const resting = await Promise.all(Array.from({ length: 500 }, (_, i) => send(channel, `d${i}`)));
    assert.deepEqual([...new Set(resting.map(({ kind, reason, untried }) => `${kind} ${reason} ${untried}`))], ['deferred channel_paused true']);
    assert.equal(server.connections, before);
    await until(channel);
    await Promise.all(Array.from({ length: 50 }, (_, i) => send(channel, `e${i}`)));
    assert.equal(server.connections, before + 1, 'one probe');
    server.script = {};
    await until(channel);
    assert.equal((await send(channel)).kind, 'accepted');
    assert.equal(channel.pausedUntil, null);
  });

  it('says what is wrong when asked', async (t) => {
    const { channel, server } = await withServer(t, {});
    assert.equal((await channel.check()).ok, true);
    await server.close();
    const { ok, detail } = await channel.check();
    assert.equal(ok, false);
    assert.match(detail, /connection_refused/);
  });

  it('stops within its deadline while the server hangs', async (t) => {
    const { channel } = await withServer(t, { faults: { dot: { hang: true } } }, { messageTimeoutMs: 60_000 });
    const sending = send(channel);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const began = Date.now();
    await channel.stop(300);
    assert.ok(Date.now() - began < 1_000);
    assert.equal((await sending).kind, 'uncertain');
  });

  for (const step of STEPS_BEFORE) {
    it(`stops at once, and counts no try, when the server hangs at its ${step}`, async (t) => {
      const { channel, server } = await withServer(t, { faults: { [step]: { hang: true } } }, { connections: 2, ...PATIENT });
      const sending = ['d1', 'd2', 'd3'].map((id) => send(channel, id));
      await eventually(() => server.connections === 2 && (step === 'greeting' || server.commands.filter((line) => line.toUpperCase().startsWith(VERBS[step]!)).length === 2));
      const began = Date.now();
      await channel.stop(20_000);
      assert.ok(Date.now() - began < 2_000, `${Date.now() - began} ms`);
      for (const { kind, untried, reason } of await Promise.all(sending)) assert.deepEqual([kind, untried, reason], ['deferred', true, 'stopped']);
      await eventually(() => server.openNow === 0);
    });
  }

  it('lets a mail that is being handed over finish when a stop is near, and begins no other', async (t) => {
    const { channel, server } = await withServer(t, { faults: { dot: { hang: true } } }, { connections: 1, ...PATIENT });
    const [first, second] = [send(channel, 'd1'), send(channel, 'd2')];
    await eventually(() => server.mails.length === 1);
    channel.quiesce!();
    const deferred = ['deferred', true, 'stopped'];
    for (const sending of [second, send(channel, 'd3')]) assert.deepEqual(await sending.then(({ kind, untried, reason }) => [kind, untried, reason]), deferred);
    const stopping = channel.stop(20_000);
    server.sayToAll('250 2.0.0 Ok: queued\r\n');
    assert.equal((await first).kind, 'accepted');
    await stopping;
    assert.equal(server.connections, 1);
  });

  it('is told to stop by the signal: waiting costs nothing, handed over is uncertain', async (t) => {
    const { channel } = await withServer(t, { faults: { dot: { hang: true } } }, { connections: 1, messageTimeoutMs: 60_000 });
    const controller = new AbortController();
    const [first, second] = [send(channel, 'd1', { signal: controller.signal }), send(channel, 'd2', { signal: controller.signal })];
    setTimeout(() => controller.abort(), 100);
    assert.equal((await first).kind, 'uncertain');
    assert.deepEqual(await second.then(({ kind, untried }) => [kind, untried]), ['deferred', true]);
  });
});

async function eventually(condition: () => boolean, withinMs = 5_000): Promise<void> {
  const giveUpAt = Date.now() + withinMs;
  while (!condition()) {
    assert.ok(Date.now() < giveUpAt, `not within ${withinMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function until(channel: Channel): Promise<void> {
  while (channel.pausedUntil !== null) await new Promise((resolve) => setTimeout(resolve, 5));
}
