import assert from 'node:assert/strict';
import { rmSync, statSync, truncateSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection, type Delivery } from '../../adapters/bus/activemq/connection.ts';
import { ActiveMqSettings } from '../../adapters/bus/activemq/driver.ts';
import { brokerOf } from '../../src/app/servers/broker.ts';
import { LocalServer } from '../../src/app/servers/local-server.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { isLong } from '../support/campaign.ts';
import { silentLog } from '../support/context.ts';
import { type Random, seeded } from '../support/seed.ts';
import { freePort } from '../support/server-process.ts';
import { fill, tmpfs } from '../support/tmpfs.ts';

const ROUNDS = isLong ? 10 : 1;
const MORE = isLong ? 300 : 100;
const QUEUES = 4;
const DEADLINE_MS = 60_000;
/** How long nothing has come when a queue counts as read. */
const QUIET_MS = 1_000;

/** What a broker was given, and what it has confirmed of that. */
class Ledger {
  readonly #settings: ActiveMqSettings;
  readonly #random: Random;
  readonly #over = new AbortController();
  readonly #work: Promise<void>[] = [];
  #next = 0;
  readonly confirmed = new Set<string>();
  /** Given to somebody, who may have acknowledged it. */
  readonly given = new Set<string>();
  readonly acknowledged = new Set<string>();

  constructor(settings: ActiveMqSettings, random: Random) {
    this.#settings = settings;
    this.#random = random;
  }

  /** Messages one by one and in transactions, of some queues of which every other one is read. */
  begin(): void {
    for (let at = 0; at < QUEUES; at++) {
      const queue = `/queue/disk.${at}`;
      this.#work.push(this.#again((connection) => this.#send(connection, queue)));
      if (at % 2 === 1) this.#work.push(this.#again((connection) => this.#read(connection, queue)));
    }
  }

  async more(messages: number): Promise<void> {
    const wanted = this.confirmed.size + messages;
    await until(() => this.confirmed.size >= wanted, 'messages are not confirmed');
  }

  async end(): Promise<void> {
    this.#over.abort();
    await Promise.all(this.#work);
  }

  /** The ids of all that is left. */
  async rest(): Promise<Set<string>> {
    const left = new Set<string>();
    const connection = await Connection.open(this.#settings, systemClock);
    let latest = performance.now();
    for (let at = 0; at < QUEUES; at++) {
      connection.subscribe(`/queue/disk.${at}`, { prefetch: 50 }, (delivery) => {
        left.add(idOf(delivery));
        latest = performance.now();
        connection.acknowledge([delivery]).catch(() => {});
      });
    }
    while (performance.now() - latest < QUIET_MS) await sleep(50);
    connection.close();
    return left;
  }

  /** On one connection after the other, as each is lost with the broker. */
  async #again(work: (connection: Connection) => Promise<void>): Promise<void> {
    while (!this.#over.signal.aborted) {
      const connection = await Connection.open(this.#settings, systemClock).catch(() => undefined);
      if (connection !== undefined) await work(connection).catch(() => {});
      connection?.close();
      await sleep(50);
    }
  }

  async #send(connection: Connection, queue: string): Promise<void> {
    while (!this.#over.signal.aborted) {
      const ids = Array.from({ length: this.#random.whole(3) === 0 ? 2 + this.#random.whole(20) : 1 }, () => String(this.#next++));
      await connection.deliver(ids.map((id) => ({ destination: queue, headers: { id }, body: Buffer.alloc(200 + this.#random.whole(8_000), 'x') })));
      for (const id of ids) this.confirmed.add(id);
      await sleep(10);
    }
  }

  async #read(connection: Connection, queue: string): Promise<void> {
    connection.subscribe(queue, { prefetch: 20 }, (delivery) => {
      this.given.add(idOf(delivery));
      connection.acknowledge([delivery]).then(() => this.acknowledged.add(idOf(delivery)), () => {});
    });
    while (!this.#over.signal.aborted && connection.open) await sleep(50);
  }
}

function idOf({ headers }: Delivery): string {
  return headers.id!;
}

async function until(what: () => boolean, otherwise: string): Promise<void> {
  for (const end = Date.now() + DEADLINE_MS; !what(); await sleep(20)) if (Date.now() > end) throw new Error(otherwise);
}

test('a broker of this machine whose disk runs full ends, is started again when there is room, and has all that it had confirmed', { timeout: 900_000 }, async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const disk = tmpfs(t, '160m');
  const settings = ActiveMqSettings.parse({ port: await freePort() });
  const server = new LocalServer(brokerOf(settings, disk, undefined), silentLog);
  t.after(() => server.stop(5_000));
  await server.start();
  const ledger = new Ledger(settings, random);
  t.after(() => ledger.end());
  ledger.begin();
  for (let round = 0; round < ROUNDS; round++) {
    await ledger.more(MORE);
    const ballast = fill(disk);
    truncateSync(ballast, statSync(ballast).size - random.whole(300_000));
    await until(() => /its disk has 0 MB free/.test(server.problem ?? ''), 'the broker goes on without a disk');
    rmSync(ballast);
    await until(() => server.problem === undefined, 'it is not started again');
  }
  await ledger.end();
  const left = await ledger.rest();
  const { confirmed, given, acknowledged } = ledger;
  t.diagnostic(`${confirmed.size} confirmed, ${acknowledged.size} acknowledged, ${left.size} left`);
  assert.deepEqual([...confirmed].filter((id) => !given.has(id) && !left.has(id)), [], 'lost');
  assert.deepEqual([...left].filter((id) => acknowledged.has(id)), [], 'given out again');
});
