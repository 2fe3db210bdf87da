import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { isLong } from '../support/campaign.ts';
import { runCli } from '../support/cli.ts';
import { MailTraffic } from '../support/mail-traffic.ts';
import { Multilith } from '../support/multilith.ts';
import { PostgresServer } from '../support/postgres.ts';
import { seeded } from '../support/seed.ts';
import { freePort } from '../support/server-process.ts';
import { MailServer } from '../support/smtp-server.ts';

const MODULES = ['portal', 'trigger', 'notification'];
const KILLS = isLong ? 25 : 1;
/** Behind the beginning of a part of a move, of which each takes about so long. */
const SOON_MS = 500;
/** Between two events, so that what is tried is the move and not the mails. */
const BETWEEN_MS = 20;

/** Until told to stop; events of which nobody knows are sent again. */
function steady(traffic: MailTraffic): () => Promise<void> {
  let isOn = true;
  const sending = (async () => {
    for (; isOn; await pause(BETWEEN_MS)) await traffic.post(1);
  })();
  return () => {
    isOn = false;
    return sending;
  };
}

test('a host that is killed at any moment of a live move has every event once, wherever its data then is', { timeout: 900_000 }, async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const folder = mkdtempSync(join(tmpdir(), 'multilith-'));
  const [dataDir, target, listen] = [join(folder, 'data'), join(folder, 'target.yaml'), `127.0.0.1:${await freePort()}`];
  const [postgres, mails] = await Promise.all([new PostgresServer().start(), MailServer.start()]);
  writeFileSync(target, JSON.stringify({ extends: 'default', storage: { default: postgres.section } }));
  const start = () => Multilith.start({ dataDir, env: { MULTILITH_SMTP_URL: mails.url, MULTILITH_HTTP_LISTEN: listen } });
  const move = (...words: string[]) => runCli(['storage', ...words, '--to', target], { env: { MULTILITH_DATA: dataDir } });
  const stateOf = (module: string) => {
    const file = join(dataDir, `storage-move-${module}.json`);
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { state: string }).state : 'none';
  };
  /** What is still to be moved, with nothing in its way of a move that was turned back. */
  const ready = () => {
    const modules = MODULES.filter((module) => stateOf(module) !== 'switched');
    for (const module of modules) if (stateOf(module) === 'none') postgres.query(`drop schema if exists ${module} cascade`);
    return modules.flatMap((module) => ['--module', module]);
  };
  let host = await start();
  t.after(async () => {
    await host.dispose();
    await mails.stop();
    await postgres.remove();
    rmSync(folder, { recursive: true, force: true });
  });
  const traffic = await MailTraffic.over(host, mails);
  const stopLoad = steady(traffic);
  await traffic.mail();

  const found: string[] = [];
  for (let kills = 0; kills < KILLS; kills++) {
    const waiting = ready();
    let isAsked = true;
    const reads = random.whole(2) === 0 ? ['--read', 'all'] : [];
    const asked = (waiting.length > 0 ? move('move', '--live', ...reads, ...waiting) : move('back')).finally(() => (isAsked = false));
    // Of one of them, so that each part of a move is hit, however fast the machine is.
    const module = waiting[1 + 2 * random.whole(isLong ? waiting.length / 2 : 1)];
    const state = random.whole(2) === 0 ? 'begun' : reads.length > 0 ? 'following' : 'switched';
    while (isAsked && module !== undefined && stateOf(module) !== state) await pause(5);
    await pause(random.whole(SOON_MS));
    await host.kill();
    await asked;
    found.push(MODULES.map(stateOf).join(' '));
    host = await start();
    await traffic.mail();
  }
  t.diagnostic(`killed with ${found.join('; ')}`);
  const waiting = ready();
  if (waiting.length > 0) {
    const moved = await move('move', '--live', ...waiting);
    assert.equal(moved.code, 0, moved.error);
  }
  const finished = await move('finish');
  assert.equal(finished.code, 0, finished.error);
  await traffic.mail();
  await stopLoad();
  const { events, repeated } = await traffic.addsUp();
  t.diagnostic(`${events} events, ${repeated} mails twice and marked so`);
  assert.equal(postgres.query("select count(*) from pg_tables where tablename = 'storage_changes'"), '0');
});
