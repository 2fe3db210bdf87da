import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Multilith } from '../support/multilith.ts';
import { SmtpFaultServer } from '../support/smtp-fault-server.ts';
import { layouts, TestSystem } from '../support/topologies.ts';
import { TestWorkspace } from '../support/workspace.ts';

const PEOPLE = 30;
/** What a stop may take, which waits for what is under way. */
const STOP_MS = 20_000;

test('a host stops at once though the SMTP server hangs in its greeting; the mails go after the next start, once each', { timeout: 60_000 }, async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'multilith-stopping-'));
  const smtp = new SmtpFaultServer({ faults: { greeting: { hang: true } } });
  const env = { MULTILITH_SMTP_URL: `smtp://127.0.0.1:${await smtp.listen()}` };
  let host = await Multilith.start({ dataDir, env });
  t.after(async () => {
    await host.dispose();
    await smtp.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const workspace = await TestWorkspace.create(host);
  const templateId = await workspace.template({ subject: 'Hi', body: '<p>Hi <a href="{{ unsubscribe_url }}">stop</a></p>', format: 'html' });
  await workspace.automation('Quote Requested', templateId);
  const batch = Array.from({ length: PEOPLE }, (_, n) => [
    { type: 'identify', userId: `u${n}`, traits: { email: `u${n}@customer.example` } },
    { type: 'track', userId: `u${n}`, event: 'Quote Requested', properties: {} },
  ]).flat();
  const answer = await workspace.send(batch);
  assert.equal(answer.status, 200);
  while (smtp.openNow < 20) await new Promise((resolve) => setTimeout(resolve, 20));

  const began = Date.now();
  assert.equal(await host.stop(), 0);
  assert.ok(Date.now() - began < STOP_MS / 2, `the stop took ${Date.now() - began} ms`);

  smtp.script = {};
  host = await Multilith.start({ dataDir, env });
  while (smtp.mails.length < PEOPLE) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(new Set(smtp.mails.map(({ to }) => to[0])).size, PEOPLE);
  assert.equal(smtp.mails.length, PEOPLE);
});

test('a host that waits for another one to start stops at once, whatever it waits for', { timeout: 60_000 }, async (t) => {
  const system = await TestSystem.prepare(layouts['notification over rpc']);
  t.after(() => system.dispose());
  const livez = `http://127.0.0.1:${system.port('mailer')}/livez`;
  const waits = {
    'for a connection': async () => {
      while (!(await fetch(livez).then(({ ok }) => ok, () => false))) await new Promise((resolve) => setTimeout(resolve, 20));
    },
    'for its queues': async () => {
      while (!system.host('mailer').output.includes('the host that keeps the messages cannot be reached')) await new Promise((resolve) => setTimeout(resolve, 20));
    },
  };
  for (const [what, untilIt] of Object.entries(waits)) {
    const mailer = system.launchHost('mailer');
    await untilIt();
    const began = performance.now();
    assert.equal(await mailer.stop(), 0, mailer.output);
    assert.ok(performance.now() - began < STOP_MS / 2, `waiting ${what}, the stop took ${performance.now() - began} ms`);
  }
});

test('a host that stops in order takes its sign with it, and leaves what another has signed', { timeout: 60_000 }, async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'multilith-signs-'));
  t.after(() => rmSync(dataDir, { recursive: true, force: true }));
  const signs = () => readdirSync(dataDir).filter((file) => /\.(pid|sock)$/.test(file)).sort();
  const pid = join(dataDir, 'app.pid');
  for (const signed of ['its own', '1']) {
    const host = await Multilith.start({ dataDir });
    t.after(() => host.kill());
    assert.deepEqual([signs(), Number(readFileSync(pid, 'utf8'))], [['app.pid', 'app.sock'], host.process.pid]);
    if (signed === '1') writeFileSync(pid, signed);
    assert.equal(await host.stop(), 0);
    assert.deepEqual(signs(), signed === '1' ? ['app.pid'] : []);
  }
});
