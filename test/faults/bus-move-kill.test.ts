import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readEffects } from '../support/bus-ledger.ts';
import type { MovePlan } from '../support/bus-move-child.ts';
import { createBus, isEmpty, onEachPairOfBuses } from '../support/buses.ts';
import { isLong } from '../support/campaign.ts';
import { testContext } from '../support/context.ts';
import { seeded } from '../support/seed.ts';

const CHILD = join(import.meta.dirname, '../support/bus-move-child.js');
const MOVES = isLong ? 60 : 1;
const MOST_KILLS = 6;

class MoveChild {
  readonly accepted = new Set<string>();
  /** `done` and `quiet` as far as it has come. */
  readonly said = new Set<string>();
  readonly ended: Promise<void>;
  errors = '';
  readonly #child: ChildProcess;

  constructor(plan: MovePlan, seed: number) {
    this.#child = spawn(process.execPath, [CHILD, JSON.stringify(plan)], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, MULTILITH_SEED: String(seed) } });
    this.#child.stderr!.on('data', (text: Buffer) => (this.errors = (this.errors + text.toString()).slice(-4_000)));
    this.ended = once(this.#child, 'close').then(() => {});
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const [word, id] = line.split(' ');
      if (word === 'ok') this.accepted.add(id!);
      else this.said.add(word!);
    });
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }
}

onEachPairOfBuses('a move, killed', (drivers, place) => {
  test(`loses nothing, repeats nothing and keeps the order of keys, whenever it is killed`, { timeout: 300_000 }, async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    let [killed, total] = [0, 0];
    for (let move = 0; move < MOVES; move++) {
      const places = [place(t).dataDir, place(t).dataDir, place(t).dataDir] as const;
      const accepted = new Set<string>();
      const plan = (run: string, rest: Partial<MovePlan>): MovePlan => ({ drivers, places, run, publishers: 1 + random.whole(20), each: 1_000_000, ...rest });
      for (let kill = 0, isDone = false; kill < MOST_KILLS && !isDone; kill++) {
        const child = new MoveChild(plan(`k${move}.${kill}`, kill === 0 ? { moveAfterMs: random.whole(150) } : {}), random.whole(2 ** 31));
        t.after(() => child.kill());
        while (child.accepted.size === 0) await Promise.race([sleep(5), child.ended.then(() => assert.fail(child.errors))]);
        await sleep(random.whole(250));
        isDone = child.said.has('done') && kill > 0;
        await child.kill();
        if (!isDone) killed++;
        for (const id of child.accepted) accepted.add(id);
      }
      const last = new MoveChild(plan('end', { each: 0, moveAfterMs: 0 }), random.whole(2 ** 31));
      t.after(() => last.kill());
      await last.ended;
      assert.ok(last.said.has('quiet'), last.errors);
      const done = await readEffects(places[2]);
      assert.deepEqual([...accepted].filter((id) => !done.has(id)), [], last.errors);
      for (const side of [0, 1] as const) {
        const bus = createBus(drivers[side], testContext({ dataDir: places[side] }), { minFreeBytes: 0 });
        await bus.start();
        assert.ok((await bus.inspect()).every((state) => isEmpty(state) && state.dead === 0));
        await bus.stop(5_000);
      }
      total += accepted.size;
    }
    t.diagnostic(`${total} messages accepted, ${killed} kills`);
  });
});
