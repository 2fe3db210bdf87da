import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test, type TestContext as Test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ActiveMqServer } from '../support/activemq.ts';
import { within } from '../support/buses.ts';
import { isLong } from '../support/campaign.ts';
import type { Multilith } from '../support/multilith.ts';
import { seeded } from '../support/seed.ts';
import { SplitLoad } from '../support/split-load.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { fill, tmpfs } from '../support/tmpfs.ts';
import { type LayoutName, layouts, type TestSystem } from '../support/topologies.ts';

const EVENTS_PER_SECOND = isLong ? 200 : 20;
const ROUNDS = isLong ? 5 : 1;
const FROZEN_MS = 75_000;
const DEADLINE_MS = 60_000;
const MORE = isLong ? 200 : 20;

/** The whole product under load on a broker of its own that is reached through a proxy. */
async function underLoad(t: Test, layout: LayoutName, options: Parameters<typeof ActiveMqServer.start>[0] = {}) {
  const broker = await ActiveMqServer.start(options);
  const proxy = await TcpProxy.start(broker.port);
  t.after(async () => {
    await proxy.stop();
    await broker.remove();
  });
  const { user } = options;
  const bus = { driver: 'activemq', port: proxy.port, heartbeatMs: 1_000, minFreeBytes: 0, ...(user && { username: user.name, password: user.password }) };
  return { broker, proxy, ...(await SplitLoad.on(t, { ...layouts[layout], settings: { bus } }, { eventsPerSecond: EVENTS_PER_SECOND })) };
}

/** Only the process that keeps the messages counts them. */
async function keeperOf(system: TestSystem): Promise<string> {
  for (const host of system.hosts) {
    const metrics = await fetch(`${system.host(host).url}/metrics`, { signal: AbortSignal.timeout(10_000) });
    if (/^bus_backlog_messages/m.test(await metrics.text())) return host;
  }
  throw new Error('no host keeps the messages');
}

async function problemsOf({ url }: Pick<Multilith, 'url'>): Promise<string[]> {
  const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(10_000) });
  return ((await answer.json()) as { problems: string[] }).problems;
}

async function untilTold(system: TestSystem, what: RegExp): Promise<void> {
  for (const end = Date.now() + DEADLINE_MS; ; await sleep(50)) {
    const problems = await problemsOf(system);
    if (problems.some((problem) => what.test(problem))) return;
    if (Date.now() > end) throw new Error(`/readyz has not said ${what} within ${DEADLINE_MS} ms: ${problems.join('; ')}\n${system.output.slice(-5_000)}`);
  }
}

test('the broker and the process that keeps the messages killed, connections cut, slow and silent: another process keeps them, nothing is lost, nothing done twice', { timeout: 1_800_000 }, async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const { broker, proxy, system, load } = await underLoad(t, isLong ? 'each module on its own host over rpc' : 'notification over rpc');
  for (let round = 0; round < ROUNDS; round++) {
    await load.more(MORE);
    await broker.kill();
    await load.more(MORE);
    await broker.up();
    await load.more(MORE);

    const keeper = await keeperOf(system);
    await load.without(keeper, async () => {
      await system.host(keeper).kill();
      await system.startHost(keeper);
    });
    await load.more(MORE);

    for (const direction of ['up', 'down'] as const) {
      proxy.cutAfter(1 + random.whole(20_000), direction);
      await load.more(MORE);
    }
    if (isLong) await slowAndSilent();
  }
  await load.addsUp(t);
  load.assertAnswered({ restarted: true });

  async function slowAndSilent(): Promise<void> {
    proxy.delayMs = 50;
    await load.more(MORE);
    proxy.delayMs = 0;
    broker.freeze();
    await untilTold(system, /broker of the bus has been away .* It does not answer/);
    await Promise.all([sleep(FROZEN_MS), load.more(MORE)]);
    broker.thaw();
    await load.more(MORE);
  }
});

test('a broker on a full disk ends at once; so it, one without space of its own and one with another password are told in /readyz, events are taken, and all is made up for once it is mended', { timeout: 900_000 }, async (t) => {
  const user = { name: 'multilith', password: 'the first one' };
  const disk = tmpfs(t, '64m');
  const { broker, system, load } = await underLoad(t, 'one process', { user, storeBytes: 40 * 1024 * 1024, under: disk });
  for (let round = 0; round < ROUNDS; round++) {
    await load.more(MORE);
    const ballast = fill(disk);
    assert.equal(await within(DEADLINE_MS, broker.ended(), () => 'the broker goes on without a disk'), 74);
    await untilTold(system, /broker of the bus has been away .* its log says why it ended, such as a full disk/);
    await load.more(MORE);
    rmSync(ballast);
    if (isLong) await broker.up();
  }
  if (isLong) await withAnotherPassword();
  // So small that what lies there is too much for it.
  await broker.kill();
  await broker.up({ user, storeBytes: 1024 * 1024 });
  await untilTold(system, /no disk space left .* storeUsage/);
  await load.more(MORE);
  await untilTold(system, /^portal: \d+ messages? waits? for the bus/);

  await broker.kill();
  await broker.up({ storeBytes: 2 * 1024 ** 3 });
  await load.addsUp(t);
  load.assertAnswered({ restarted: true });

  async function withAnotherPassword(): Promise<void> {
    await broker.kill();
    await broker.up({ user: { ...user, password: 'another one' } });
    await untilTold(system, /refuses the connection; look at its user/);
    await load.more(MORE);
    assert.ok(!system.output.includes(user.password), 'the password was printed');
  }
});
