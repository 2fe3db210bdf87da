import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { busDrivers } from '../../adapters/bus/catalog.ts';
import { probe } from '../../src/app/config/parts.ts';
import { createBus } from '../../src/app/host/drivers.ts';
import { parts } from '../../src/app/parts.ts';
import type { MoveProgress } from '../../src/fabric/bus-move.ts';
import { isLong } from '../support/campaign.ts';
import { runCli } from '../support/cli.ts';
import { withDeadLetters } from '../support/dead-letters.ts';
import { ActiveMqServer } from '../support/activemq.ts';
import { MailTraffic } from '../support/mail-traffic.ts';
import { Multilith } from '../support/multilith.ts';
import { seeded } from '../support/seed.ts';
import { layouts, TestSystem } from '../support/topologies.ts';
import { freePort } from '../support/server-process.ts';
import { MailServer } from '../support/smtp-server.ts';

/** The bus section for each driver of the catalog that messages can be moved to, beside the one in the data directory. */
const TARGETS: Readonly<Record<keyof typeof busDrivers, (t: TestContext) => Promise<object>>> = {
  embedded: async () => ({ driver: 'embedded', directory: 'other' }),
  activemq: async (t) => {
    const broker = await ActiveMqServer.start();
    t.after(() => broker.remove());
    return { driver: 'activemq', port: broker.port };
  },
};
const KILLS = isLong ? 20 : 1;
/** Messages that nobody takes, so that a move takes its time. */
const CROWD = 30_000;

interface Installation {
  readonly dataDir: string;
  /** Absolute: the topology with the new bus. */
  readonly target: string;
  readonly server: MailServer;
  start(topology?: string): Promise<Multilith>;
  cli(...args: string[]): ReturnType<typeof runCli>;
}

async function installation(t: TestContext, sectionOf: (t: TestContext) => Promise<object>): Promise<Installation> {
  const folder = mkdtempSync(join(tmpdir(), 'multilith-'));
  const server = await MailServer.start();
  const [dataDir, target] = [join(folder, 'data'), join(folder, 'target.yaml')];
  const listen = `127.0.0.1:${await freePort()}`;
  writeFileSync(target, JSON.stringify({ extends: 'default', bus: await sectionOf(t) }));
  const running: Multilith[] = [];
  t.after(async () => {
    for (const one of running) await one.dispose();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    dataDir, target, server,
    async start(topology) {
      const multilith = await Multilith.start({ dataDir, env: { MULTILITH_SMTP_URL: server.url, MULTILITH_HTTP_LISTEN: listen }, ...(topology !== undefined && { args: ['--topology', topology] }) });
      running.push(multilith);
      return multilith;
    },
    cli: (...args) => runCli(args, { env: { MULTILITH_DATA: dataDir } }),
  };
}

/** While no host runs. */
async function crowd(dataDir: string): Promise<void> {
  const bus = createBus({ driver: 'embedded', settings: parts.bus.embedded!.settings.parse({}) }, parts, probe(dataDir));
  await bus.start();
  await withDeadLetters(bus, 'suite.crowded', Array.from({ length: CROWD }, (_, i) => ({ id: `m${i}`, workspace: `w${i % 3}`, reason: 'mailbox full' })));
  await bus.stop(10_000);
}

function isOver(dataDir: string): boolean {
  const file = join(dataDir, 'bus-move.json');
  return existsSync(file) && (JSON.parse(readFileSync(file, 'utf8')) as { isOver: boolean }).isOver;
}

for (const [driver, sectionOf] of Object.entries(TARGETS)) {
  describe(`the messages of a running host go from embedded to ${driver}`, () => {
    it('while events come in, and each becomes one mail; then only the new bus may be named', { timeout: 180_000 }, async (t) => {
      const { target, server, start, cli } = await installation(t, sectionOf);
      const host = await start();
      const traffic = await MailTraffic.over(host, server);
      const stopLoad = traffic.load();
      await traffic.mail();
      const slowest = traffic.ingesting();
      const moved = await cli('bus', 'move', '--to', target, '--json');
      const slowestMs = await slowest();
      assert.equal(moved.code, 0, moved.error);
      const progress = JSON.parse(moved.out) as MoveProgress;
      assert.ok(progress.state === 'done' && progress.queues.length > 5 && progress.queues.every(({ state }) => state === 'moved'), moved.out);
      t.diagnostic(`publishing to a queue was held back for ${progress.longestHoldMs} ms at most; the slowest answer to an event took ${slowestMs} ms`);
      assert.ok(progress.longestHoldMs < 1_000, `publishing was held back for ${progress.longestHoldMs} ms`);
      await traffic.mail();
      await stopLoad();
      const { events } = await traffic.addsUp();
      t.diagnostic(`${events} events`);
      // Again says the same.
      const again = await cli('bus', 'move', '--to', target);
      assert.equal(again.code, 0, again.error);
      assert.match(again.out, /All messages are in the new bus/);
      assert.equal(await host.stop(), 0);

      const refused = await cli('start');
      assert.equal(refused.code, 1);
      assert.match(refused.error, /have been moved to another bus[\s\S]*--topology \S*target\.yaml/);
      const listed = await cli('queues', 'list', '--json');
      assert.equal(listed.code, 1, listed.out);
      assert.match(listed.error, /have been moved/);
      assert.equal((JSON.parse((await cli('queues', 'list', '--json', '--topology', target)).out) as object[]).length, progress.queues.length);
      await start(target);
      await traffic.mail();
    });

    // What differs between the drivers is in the test above; the long campaign kills on all of them.
    if (driver !== 'embedded' && !isLong) return;

    it(`and back again without a host, and once more with it killed again and again in the middle`, { timeout: 280_000 }, async (t) => {
      const random = seeded((line) => t.diagnostic(line));
      const { target, server, start, cli, dataDir } = await installation(t, sectionOf);
      let host = await start();
      const traffic = await MailTraffic.over(host, server);
      await traffic.mail();
      await host.stop();
      await crowd(dataDir);
      const there = await cli('bus', 'move', '--to', target, '--json');
      assert.equal(there.code, 0, there.error);
      assert.equal((JSON.parse(there.out) as MoveProgress).queues.find(({ queue }) => queue === 'suite.crowded')!.copied, CROWD);
      const back = await cli('bus', 'move', '--to', 'default', '--topology', target);
      assert.equal(back.code, 0, back.error);

      host = await start();
      const stopLoad = traffic.load();
      const asked = cli('bus', 'move', '--to', target);
      let kills = 0;
      while (isOver(dataDir)) await pause(10);
      for (; kills < KILLS; kills++) {
        await pause(random.whole(1_000));
        if (isOver(dataDir)) break;
        await host.kill();
        host = await start();
      }
      const cut = await asked;
      assert.deepEqual([cut.code, /goes on by itself/.test(cut.error)], [1, true], cut.error);
      const ended = await cli('bus', 'move', '--to', target);
      assert.equal(ended.code, 0, ended.error);
      await traffic.mail();
      await stopLoad();
      const { events, repeated } = await traffic.addsUp();
      assert.equal((JSON.parse((await cli('queues', 'inspect', 'suite.crowded', '--json')).out) as { dead: number }).dead, CROWD);
      t.diagnostic(`${events} events, ${kills} kills in the middle, ${repeated} mails twice and marked so`);
      assert.ok(kills > 0 && isOver(dataDir));
    });
  });
}

it('a move under load is turned back, killed in the middle of that, and every message is where it was', { timeout: 180_000 }, async (t) => {
  const { target, server, start, cli, dataDir } = await installation(t, TARGETS.embedded);
  let host = await start();
  const traffic = await MailTraffic.over(host, server);
  assert.match((await cli('bus', 'move', '--cancel')).error, /No move/);
  await host.stop();
  await crowd(dataDir);
  host = await start();
  const stopLoad = traffic.load();
  const record = () => JSON.parse(readFileSync(join(dataDir, 'bus-move.json'), 'utf8')) as { moved: string[]; back: string | null };
  const asked = cli('bus', 'move', '--to', target);
  while (!existsSync(join(dataDir, 'bus-move.json')) || record().moved.length === 0) await pause(5);
  const cancelled = cli('bus', 'move', '--cancel');
  while (record().back === null) await pause(5);
  await host.kill();
  await Promise.all([asked, cancelled]);
  await start();
  const { code, out, error } = await cli('bus', 'move', '--cancel');
  assert.equal(code, 0, error);
  assert.match(out, /All messages are back/);
  await traffic.mail();
  await stopLoad();
  await traffic.addsUp();
  assert.equal((JSON.parse((await cli('queues', 'inspect', 'suite.crowded', '--json')).out) as { dead: number }).dead, CROWD);
});

it('the messages of hosts that go through the one that keeps them go to another bus of that one', { timeout: 180_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'multilith-'));
  const server = await MailServer.start();
  const system = await TestSystem.start(layouts['each module on its own host over rpc'], { env: { MULTILITH_SMTP_URL: server.url } });
  t.after(async () => {
    await system.dispose();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const traffic = await MailTraffic.over(system, server);
  const [keeper] = system.hosts as [string];
  const target = join(folder, 'target.yaml');
  writeFileSync(target, JSON.stringify({ extends: system.topology, bus: { ...(await TARGETS.embedded(t)), host: keeper } }));
  const stopLoad = traffic.load();
  await traffic.mail();
  const moved = await runCli(['bus', 'move', '--to', target, '--topology', system.topology, '--json']);
  assert.equal(moved.code, 0, moved.error);
  await traffic.mail();
  await stopLoad();
  const { events } = await traffic.addsUp();
  t.diagnostic(`${events} events, publishing held back for ${(JSON.parse(moved.out) as MoveProgress).longestHoldMs} ms at most`);
  const other = await runCli(['bus', 'move', '--to', 'default', '--topology', system.topology]);
  assert.equal(other.code, 1, other.out);
  assert.match(other.error, /keeps the messages/);
});
