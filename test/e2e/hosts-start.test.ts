import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SystemStatus } from '../../src/kernel/system.ts';
import { runCli } from '../support/cli.ts';
import { Multilith } from '../support/multilith.ts';
import { freePort } from '../support/server-process.ts';
import { type Layout, TestSystem } from '../support/topologies.ts';

const layout: Layout = { hosts: { app: ['portal', 'trigger'], mailer: ['notification'] }, settings: { peers: { waitMs: 2_000 } } };

interface Readiness {
  readonly ready: boolean;
  readonly phase: string;
  readonly problems: readonly string[];
}

async function readiness(url: string): Promise<Readiness | undefined> {
  return fetch(`${url}/readyz`).then((response) => response.json() as Promise<Readiness>, () => undefined);
}

describe('the start of a host', () => {
  it('ends after a while when a host that it calls is away, which is named', async (t) => {
    const system = await TestSystem.prepare(layout);
    t.after(() => system.dispose());
    const app = system.launchHost('app');
    const seen: string[] = [];
    const watching = setInterval(() => void readiness(system.url).then((state) => state && seen.push(state.phase)), 50);
    await app.untilReady().finally(() => clearInterval(watching));
    assert.equal(seen[0], 'starting');
    const state = (await readiness(system.url))!;
    assert.deepEqual([state.ready, state.phase], [true, 'ready']);
    assert.deepEqual(state.problems, ['notification: Host mailer cannot be reached: nobody listens there (ECONNREFUSED). Start it, or correct its addresses in the topology.']);
    // Whoever may look into the data directory is told where.
    const told = JSON.parse((await runCli(['top', '--once', '--json', '--topology', system.topology])).out) as SystemStatus;
    assert.match(told.hosts[0]!.problems.join(), new RegExp(`^notification: Host mailer cannot be reached: .*127\\.0\\.0\\.1:${system.port('mailer')}.*ECONNREFUSED`));
    await app.says(/"level":"warn".*Host mailer cannot be reached/);

    await system.startHost('mailer');
    await system.healed();
    await app.says(/"level":"info".*can be had again/);
    assert.match(app.output, new RegExp(`^Waiting for mailer at 127\\.0\\.0\\.1:${system.port('mailer')} \\(2 s at most\\) …$`, 'm'));
    assert.match(system.host('mailer').output, /^Multilith is ready: takes calls of other hosts at (127\.0\.0\.1:\d+) \(probes: http:\/\/\1\/livez, \/readyz, \/metrics\)$/m);
  });

  it('waits for the host that keeps the messages, says so, and goes on when it comes', async (t) => {
    const system = await TestSystem.prepare(layout);
    t.after(() => system.dispose());
    const mailer = system.launchHost('mailer');
    await mailer.says(/"level":"warn".*bus: Host app cannot be reached/);
    const state = (await readiness(`http://127.0.0.1:${system.port('mailer')}`))!;
    assert.deepEqual([state.ready, state.phase], [false, 'starting']);
    assert.match(state.problems.join(), /bus: Host app cannot be reached/);
    await mailer.says(/^Waiting for app at 127\.0\.0\.1:\d+ \(it keeps the messages: as long as it takes\) …$/m);
    await Promise.all([system.startHost('app'), mailer.untilReady()]);
    await system.healed();
  });

  it('is refused without a stack where another topology has its modules, and says who runs there', async (t) => {
    const whole = await Multilith.start();
    t.after(() => whole.dispose());
    const env = { MULTILITH_DATA: whole.dataDir, MULTILITH_HTTP_LISTEN: '127.0.0.1:0' };
    const { code, error } = await runCli(['start', '--topology', 'split-notification', '--host', 'mailer', '--set', 'peers.waitMs=0', '--set', `hosts.mailer.listen=127.0.0.1:${await freePort()}`, '--set', `hosts.app.listen=127.0.0.1:${await freePort()}`], { env });
    assert.equal(code, 1);
    assert.ok(error.includes(`On this data directory runs: app (process ${whole.process.pid}), probably with another topology`), error);
    assert.match(error, /stop that process first/);
    assert.doesNotMatch(error, /\n {4}at |"stack"/);
    const seen = await runCli(['top', '--once', '--topology', 'split-all'], { env });
    assert.match(seen.out, /^ app +ready/m, 'top finds whoever runs there');
  });

  for (const [when, line] of [['while it waits for the others', undefined], ['while it waits for the host that keeps the messages', /bus: Host app cannot be reached/]] as const) {
    it(`is given up at once and in order on SIGTERM ${when}`, async (t) => {
      const system = await TestSystem.prepare({ ...layout, settings: { peers: { waitMs: line === undefined ? 60_000 : 100 } } });
      t.after(() => system.dispose());
      const mailer = system.launchHost('mailer');
      if (line !== undefined) await mailer.says(line);
      else while ((await readiness(`http://127.0.0.1:${system.port('mailer')}`)) === undefined) await new Promise((resolve) => setTimeout(resolve, 25));
      const told = performance.now();
      assert.equal(await mailer.stop(), 0, mailer.output);
      assert.ok(performance.now() - told < 5_000, `it took ${performance.now() - told} ms`);
      assert.doesNotMatch(mailer.output, /"level":"error"/);
    });
  }
});
