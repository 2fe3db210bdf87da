import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { Multilith } from '../support/multilith.ts';
import { PostgresServer } from '../support/postgres.ts';
import { freePort } from '../support/server-process.ts';
import { SplitLoad } from '../support/split-load.ts';
import type { TestSystem } from '../support/topologies.ts';

/** A process that has just started gets its share of the messages within this. */
const SHARE_MS = 60_000;
/** Less than a slow machine carries on PostgreSQL, since what piles up has to be carried before anything can be counted. */
const EVENTS_PER_SECOND = 40;
const KILLS = isLong ? 40 : 4;

it('two mailers on one PostgreSQL, killed in turn under load: nothing is lost, nothing done twice, the portal answers', { timeout: 600_000 }, async (t) => {
  const database = new PostgresServer();
  t.after(() => database.remove());
  await database.start();
  const [app, first, second] = [await freePort(), await freePort(), await freePort()];
  const layout = {
    hosts: { app: ['portal', 'trigger'], mailer: ['notification'] },
    settings: {
      hosts: {
        app: { modules: ['portal', 'trigger'], listen: `127.0.0.1:${app}` },
        mailer: { modules: ['notification'], listen: `127.0.0.1:${first}`, addresses: [`127.0.0.1:${first}`, `127.0.0.1:${second}`], replicas: 2 },
      },
      storage: { default: database.section },
    },
  };
  const { system, load } = await SplitLoad.on(t, layout, { eventsPerSecond: EVENTS_PER_SECOND });
  const replica = new Replica(system, second);
  t.after(() => replica.process?.kill());
  await replica.start();
  for (let kill = 0; kill < KILLS; kill++) {
    await load.more(125);
    if (kill % 2 === 0) {
      await replica.process!.kill();
      await load.more(50);
      await replica.start();
    } else {
      await system.host('mailer').kill();
      await load.more(50);
      await system.startHost('mailer');
    }
  }
  const both = [system.host('mailer'), replica.process!];
  for (const end = Date.now() + SHARE_MS; (await Promise.all(both.map(carried))).includes(0); await load.more(50)) {
    assert.ok(Date.now() < end, 'one of the two has carried nothing since its last start');
  }
  await load.addsUp(t);
  load.assertAnswered({ restarted: true });
});

/** How many deliveries a process has brought to rest. */
async function carried({ url }: Multilith): Promise<number> {
  const text = await (await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(5_000) })).text();
  return [...text.matchAll(/^\S*deliveries_total\{.*\} (\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** The second process of the host `mailer`, with what it keeps on disk in a folder of its own. */
class Replica {
  process: Multilith | undefined;
  readonly #system: TestSystem;
  readonly #port: number;
  readonly #dataDir: string;

  constructor(system: TestSystem, port: number) {
    this.#system = system;
    this.#port = port;
    this.#dataDir = join(system.dataDir, '..', 'second-mailer');
    mkdirSync(this.#dataDir, { recursive: true });
    copyFileSync(join(system.dataDir, 'installation.json'), join(this.#dataDir, 'installation.json'));
  }

  async start(): Promise<void> {
    this.process = await this.#system.startBeside('mailer', { dataDir: this.#dataDir, args: ['--set', `hosts.mailer.listen=127.0.0.1:${this.#port}`] });
  }
}
