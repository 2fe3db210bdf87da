import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { createConnection, createServer, type AddressInfo } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { describe, it, type TestContext as Test } from 'node:test';
import NodemailerDkim from 'nodemailer/lib/dkim';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import PostalMime from 'postal-mime';
import { smtp, SmtpSettings } from '../../../adapters/channel/smtp/driver.ts';
import { composeMail } from '../../../modules/notification/compose/message.ts';
import type { Channel, ChannelMessage } from '../../../src/ports/channel.ts';
import { testContext } from '../../support/context.ts';
import { verifyDkim } from '../../support/dkim-verifier.ts';
import { keyThatCannotSign } from '../../support/keys.ts';

const NEVER = new AbortController().signal;

function mail(id: string, html = '<p>Grüße .\n.\n..x</p>'): ChannelMessage {
  const raw = composeMail({ messageId: `${id}@agency.example`, to: 'b@example.org', from: { name: 'Agency', email: 'a@agency.example' }, subject: `Nr. ${id} — ✓`, html, text: `Text ${id}`, unsubscribeUrl: 'https://mail.agency.example/u/x', now: Date.now() });
  return { deliveryId: id, workspace: 'w1', envelope: { from: 'a@agency.example', to: 'b@example.org' }, raw };
}

async function channelTo(t: Test, port: number, settings: object = {}): Promise<Channel> {
  const context = testContext();
  const channel = smtp.create(SmtpSettings.parse({ host: '127.0.0.1', port, connectTimeoutMs: 3_000, ...settings }), context);
  await channel.start();
  t.after(async () => {
    await channel.stop(2_000);
    context.remove();
  });
  return channel;
}

interface Received {
  readonly secure: boolean;
  readonly user: string | undefined;
  readonly raw: string;
}

/** npm's smtp-server: a server that we did not write. */
async function smtpServer(t: Test, options: SMTPServerOptions = {}): Promise<{ port: number; received: Received[] }> {
  const received: Received[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disableReverseLookup: true,
    logger: false,
    closeTimeout: 50,
    onAuth: (auth, _session, done) => (auth.username === 'me' && auth.password === 'pass word' ? done(null, { user: 'me' }) : done(new Error('No'))),
    onData(stream, session, done) {
      text(stream).then((raw) => {
        received.push({ secure: session.secure, user: session.user, raw });
        done();
      }, done);
    },
    ...options,
  });
  server.on('error', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => new Promise<void>((resolve) => server.close(resolve)));
  return { port: (server.server.address() as AddressInfo).port, received };
}

describe('npm smtp-server', () => {
  it('receives every mail once, as it was composed', async (t) => {
    const { port, received } = await smtpServer(t);
    const channel = await channelTo(t, port, { security: 'none', connections: 5 });
    const results = await Promise.all(Array.from({ length: 60 }, (_, i) => channel.send(mail(`m${i}`), NEVER)));
    assert.deepEqual(new Set(results.map(({ kind }) => kind)), new Set(['accepted']));
    assert.equal(new Set(received.map(({ raw }) => raw.match(/^Message-ID: (.*)$/m)![1])).size, 60);
    const parsed = await PostalMime.parse(received[0]!.raw);
    assert.equal(parsed.html, '<p>Grüße .\r\n.\r\n..x</p>\r\n');
    assert.match(parsed.subject!, /^Nr\. m\d+ — ✓$/);
  });

  it('is spoken to by STARTTLS, with the password, only over TLS', async (t) => {
    const { port, received } = await smtpServer(t);
    const channel = await channelTo(t, port, { security: 'starttls', verifyCertificate: false, username: 'me', password: 'pass word' });
    assert.equal((await channel.send(mail('m1'), NEVER)).kind, 'accepted');
    assert.deepEqual([received[0]!.secure, received[0]!.user], [true, 'me']);
  });

  it('is spoken to by TLS from the first byte', async (t) => {
    const { port, received } = await smtpServer(t, { secure: true });
    const channel = await channelTo(t, port, { security: 'tls', verifyCertificate: false });
    assert.equal((await channel.send(mail('m1'), NEVER)).kind, 'accepted');
    assert.equal(received[0]!.secure, true);
  });

  it('is refused when its certificate proves nothing', async (t) => {
    const { port, received } = await smtpServer(t);
    for (const security of ['starttls', 'tls']) {
      const channel = await channelTo(t, port, { security });
      const result = await channel.send(mail('m1'), NEVER);
      assert.deepEqual([result.kind, result.reason], ['deferred', 'tls_failed'], JSON.stringify(result));
    }
    assert.equal(received.length, 0);
  });

  it('defers, and keeps the password to itself, when it refuses the login', async (t) => {
    const { port } = await smtpServer(t);
    const channel = await channelTo(t, port, { verifyCertificate: false, username: 'me', password: 'wrong-word' });
    const result = await channel.send(mail('m1'), NEVER);
    assert.deepEqual([result.kind, result.reason], ['deferred', 'login_refused']);
    assert.doesNotMatch(JSON.stringify([result, await channel.check()]), /wrong-word/);
  });

  it('is told apart by what it refuses', async (t) => {
    const answer = (code: number) => Object.assign(new Error('Words'), { responseCode: code });
    for (const [code, kind] of [[550, 'rejected'], [451, 'deferred']] as const) {
      const { port } = await smtpServer(t, { onRcptTo: (_address, _session, done) => done(answer(code)) });
      const result = await (await channelTo(t, port, { security: 'none' })).send(mail('m1'), NEVER);
      assert.deepEqual([result.kind, result.response], [kind, `${code} Words`]);
    }
  });
});

describe('DKIM', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const ed25519 = generateKeyPairSync('ed25519');
  for (const [name, pair] of [['RSA', rsa], ['Ed25519', ed25519]] as const) {
    it(`${name} signatures hold on arrival, cover the unsubscribe headers, and break with any of it`, async (t) => {
      const { port, received } = await smtpServer(t);
      const privateKey = pair.privateKey.export({ type: 'pkcs8', format: 'pem' });
      const channel = await channelTo(t, port, { security: 'none', dkim: { domain: 'agency.example', selector: 's1', privateKey } });
      for (const html of ['<p>x</p>', '  spaces \t at ends  \n\n\n', `<p>${'ü'.repeat(3_000)}</p>`]) {
        assert.equal((await channel.send(mail('m1', html), NEVER)).kind, 'accepted');
      }
      for (const { raw } of received) {
        assert.deepEqual(verifyDkim(raw, pair.publicKey), { valid: true, domain: 'agency.example', selector: 's1' });
        const signed = /h=([^;]+);/.exec(raw.replace(/\r\n[ \t]+/g, ''))![1]!.split(':');
        for (const header of ['from', 'to', 'subject', 'date', 'message-id', 'mime-version', 'content-type', 'list-unsubscribe', 'list-unsubscribe-post']) assert.ok(signed.includes(header), header);
        for (const [from, to] of [['Subject: ', 'Subject: Re: '], ['/u/x>', '/u/y>'], ['One-Click', 'Two-Click'], ['Text m1', 'Text m2'], ['From: Agency', 'From: Other'], ['\r\nTo:', '\r\nFrom: eve@example.org\r\nTo:'], ['\r\nDate:', '\r\nSubject: another\r\nDate:']] as const) {
          assert.ok(raw.includes(from), from);
          assert.equal(verifyDkim(raw.replace(from, to), pair.publicKey).valid, false, to);
        }
        for (const added of ['From: eve@example.org', 'Subject: another', 'To: eve@example.org', 'Reply-To: eve@example.org', 'List-Unsubscribe: <https://evil.example>']) {
          assert.equal(verifyDkim(`${added}\r\n${raw}`, pair.publicKey).valid, false, added);
        }
      }
    });
  }

  it('sends nothing when a signature cannot be made, tells the caller, and stops as ever', { timeout: 20_000 }, async (t) => {
    const { port, received } = await smtpServer(t);
    const channel = await channelTo(t, port, { security: 'none', connections: 1, dkim: { domain: 'agency.example', selector: 's1', privateKey: keyThatCannotSign() } });
    for (const [i, result] of (await Promise.allSettled([1, 2, 3, 4, 5].map((n) => channel.send(mail(`m${n}`), NEVER)))).entries()) {
      assert.equal(result.status, 'rejected', `m${i + 1}`);
      assert.doesNotMatch(String(result.reason?.stack), /PRIVATE|BEGIN/);
    }
    assert.equal(channel.pausedUntil, null, 'the server is not to blame');
    await channel.stop(5_000);
    assert.equal(received.length, 0);
  });

  it('is checked here by what also holds for a signer that is not ours', async () => {
    const privateKey = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    const theirs = new NodemailerDkim({ domainName: 'agency.example', keySelector: 's1', privateKey });
    const raw = (await buffer(theirs.sign(Buffer.from(mail('m1', '  a \t b \n\n').raw)))).toString('latin1');
    assert.deepEqual(verifyDkim(raw, rsa.publicKey), { valid: true, domain: 'agency.example', selector: 's1' });
    assert.equal(verifyDkim(raw.replace('Text m1', 'Text m2'), rsa.publicKey).valid, false);
  });

  it('refuses keys that nobody should sign with', () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 768 }).privateKey.export({ type: 'pkcs8', format: 'pem' });
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' });
    for (const privateKey of ['nonsense', weak, ec]) {
      assert.throws(() => smtp.create(SmtpSettings.parse({ host: 'x', dkim: { domain: 'agency.example', selector: 's1', privateKey } }), testContext()), (error: Error) => error instanceof TypeError && !error.message.includes('BEGIN'));
    }
  });
});

describe("postfix's smtp-sink", () => {
  it('takes thousands over a few connections, and what it refuses is told apart', { timeout: 30_000 }, async (t) => {
    const channel = await channelTo(t, await smtpSink(t), { connections: 5 });
    const results = await Promise.all(Array.from({ length: 2_000 }, (_, i) => channel.send(mail(`m${i}`), NEVER)));
    assert.deepEqual(new Set(results.map(({ kind }) => kind)), new Set(['accepted']));
    const soft = await channelTo(t, await smtpSink(t, '-r', 'rcpt'));
    assert.equal((await soft.send(mail('m1'), NEVER)).kind, 'deferred');
    const hard = await channelTo(t, await smtpSink(t, '-f', 'data'));
    assert.equal((await hard.send(mail('m1'), NEVER)).kind, 'rejected');
    const hangsUp = await channelTo(t, await smtpSink(t, '-q', 'data'));
    assert.equal((await hangsUp.send(mail('m1'), NEVER)).kind, 'deferred');
  });
});

async function smtpSink(t: Test, ...flags: string[]): Promise<number> {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const child = spawn('smtp-sink', [...user, ...flags, `127.0.0.1:${port}`, '1000'], { stdio: 'ignore', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  t.after(() => child.kill('SIGKILL'));
  await Promise.race([failed, answers(port)]);
  return port;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answers(port: number): Promise<void> {
  for (const giveUpAt = Date.now() + 5_000; Date.now() < giveUpAt; ) {
    const connected = await new Promise<boolean>((resolve) => {
      const socket = createConnection(port, '127.0.0.1', () => socket.destroy() && resolve(true)).on('error', () => resolve(false));
    });
    if (connected) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('smtp-sink did not answer within 5 s.');
}
