import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { BackupProgress } from '../../src/app/backup/backups.ts';
import { runCli } from '../support/cli.ts';
import { MailTraffic } from '../support/mail-traffic.ts';
import { Multilith } from '../support/multilith.ts';
import { MailServer } from '../support/smtp-server.ts';
import { TestSystem } from '../support/topologies.ts';

interface Place {
  readonly folder: string;
  /** One process at that address; ends with the test. */
  start(dataDir: string, server: MailServer, url: string): Promise<Multilith>;
  cli(dataDir: string, ...args: string[]): ReturnType<typeof runCli>;
}

function placeFor(t: TestContext): Place {
  const folder = mkdtempSync(join(tmpdir(), 'multilith-'));
  const running: Multilith[] = [];
  t.after(async () => {
    for (const one of running) await one.dispose();
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    folder,
    async start(dataDir, server, url) {
      const multilith = await Multilith.start({ dataDir, env: { MULTILITH_SMTP_URL: server.url, MULTILITH_HTTP_LISTEN: new URL(url).host } });
      running.push(multilith);
      return multilith;
    },
    cli: (dataDir, ...args) => runCli(args, { env: { MULTILITH_DATA: dataDir } }),
  };
}

async function mailServer(t: TestContext): Promise<MailServer> {
  const server = await MailServer.start();
  t.after(() => server.stop());
  return server;
}

interface Delivery {
  readonly state: string;
  readonly messageId: string;
  readonly source: { readonly eventId: string };
}

async function deliveriesOf({ workspace, automationId }: MailTraffic): Promise<Delivery[]> {
  const all: Delivery[] = [];
  for (let after = ''; ; ) {
    const page = await workspace.ask('GET', `/api/v1/deliveries?sourceId=${automationId}&limit=200${after && `&after=${encodeURIComponent(after)}`}`);
    all.push(...page.items);
    if (page.next === null) return all;
    after = page.next;
  }
}

async function problemsOf({ url }: Multilith): Promise<string> {
  return JSON.stringify(((await (await fetch(`${url}/readyz`)).json()) as { problems: string[] }).problems);
}

test('a copy of hosts and threads under load, taken while they work, has every event that was accepted before, mails nothing until it may, and then each mail once', { timeout: 180_000 }, async (t) => {
  const { folder, start, cli } = placeFor(t);
  const copy = join(folder, 'copy');
  const sent = await mailServer(t);
  const original = await TestSystem.start({ hosts: { app: ['portal', 'trigger'], mailer: ['notification'] }, calls: { trigger: { via: 'thread' } } }, { env: { MULTILITH_SMTP_URL: sent.url } });
  t.after(() => original.dispose());
  const traffic = await MailTraffic.over(original, sent);
  await traffic.mail();
  const stopLoad = traffic.load();
  await traffic.mail();
  const before = traffic.accepted;
  const made = await cli(original.dataDir, 'backup', folder, '--topology', original.topology, '--json');
  assert.equal(made.code, 0, made.error);
  const backup = JSON.parse(made.out) as BackupProgress;
  assert.ok(backup.state === 'done' && backup.heldMs <= 1_000, made.out);
  assert.equal(statSync(backup.file).mode & 0o777, 0o600);
  t.diagnostic(`${backup.rows} rows, ${backup.bytes} bytes, writing held back for ${backup.heldMs} ms`);
  // What the original goes on to do is none of the copy's affair, and must not be done by it.
  await traffic.mail();
  await Promise.all(original.hosts.map((host) => original.host(host).kill()));
  await stopLoad();

  const restored = await cli(copy, 'restore', backup.file, '--json');
  assert.equal(restored.code, 0, restored.error);
  assert.equal((JSON.parse(restored.out) as { rows: number }).rows, backup.rows);
  const resent = await mailServer(t);
  const twin = await start(copy, resent, original.url);
  assert.match(await problemsOf(twin), /Sending is held/);
  assert.match((await cli(copy, 'doctor')).out, /sending +warn|warn +sending/);
  // Events are recorded and automations run meanwhile.
  const { audience } = await traffic.workspace.until(`/api/v1/automations/${traffic.automationId}/counts`, ({ entered }) => entered >= before).then(({ entered }) => ({ audience: entered as number }));
  assert.equal(resent.mails.length, 0);
  assert.match((await cli(copy, 'sending')).out, /Sending is held[\s\S]*notification\.send-requested/);

  const released = await cli(copy, 'sending', 'release', '--json');
  assert.equal((JSON.parse(released.out) as { held: boolean }).held, false, released.error);
  const counts = await traffic.workspace.until(`/api/v1/automations/${traffic.automationId}/deliveries/counts`, ({ pending, audience: told }) => told >= audience && pending === 0);
  assert.ok(counts.audience >= before, `${before} events were accepted before the backup, and the copy knows of ${counts.audience}`);
  const deliveries = await deliveriesOf(traffic);
  assert.equal(new Set(deliveries.map(({ source }) => source.eventId)).size, deliveries.length);
  for (const { messageId, state } of deliveries) {
    const times = (server: MailServer) => server.mails.filter(({ raw }) => raw.includes(messageId)).length;
    assert.ok(times(resent) <= 1 && times(sent) + times(resent) >= 1, `a mail counts as ${state}; the original sent it ${times(sent)} times, the copy ${times(resent)} times`);
  }
  assert.equal(await problemsOf(twin), '[]');
  // It is an installation like any other.
  const again = await cli(copy, 'backup', join(folder, 'again.gz'), '--json');
  assert.equal(again.code, 0, again.error);
  assert.equal(await twin.stop(), 0);
  assert.deepEqual(readdirSync(folder).filter((name) => name.endsWith('.part')), []);
});

test('what is no whole backup is refused before anything is written, and so is a folder that holds something', { timeout: 60_000 }, async (t) => {
  const { folder, cli } = placeFor(t);
  const missing = await cli(join(folder, 'data'), 'backup', folder);
  assert.equal(missing.code, 1);
  assert.match(missing.error, /no data directory/);
  const none = await cli(join(folder, 'data'), 'restore', join(folder, 'none.gz'));
  assert.equal(none.code, 1);
  assert.match(none.error, /cannot be read \(ENOENT\)/);
  assert.deepEqual(readdirSync(folder), []);
});
