import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Bus } from '../../src/ports/bus.ts';
import { type LedgerPlan, openEffects } from './bus-ledger-child.ts';

const CHILD = join(import.meta.dirname, 'bus-ledger-child.js');

/** The process of bus-ledger-child.ts as its tests see it. */
export class LedgerChild {
  readonly accepted = new Set<string>();
  readonly failures: string[] = [];
  /** Resolves when everything has been handled, or the process has ended. */
  readonly quiet: Promise<void>;
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  #errors = '';

  constructor(plan: LedgerPlan, seed: number, under: readonly string[] = []) {
    const [command, ...args] = [...under, process.execPath, CHILD, JSON.stringify(plan)];
    this.#child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, MULTILITH_SEED: String(seed) } });
    this.#child.stderr!.on('data', (text: Buffer) => (this.#errors = (this.#errors + text.toString()).slice(-4_000)));
    this.ended = once(this.#child, 'close').then(() => {});
    const calm = Promise.withResolvers<void>();
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const [word, value] = line.split(' ');
      if (word === 'ok') this.accepted.add(value!);
      else if (word === 'failed') this.failures.push(value!);
      else calm.resolve();
    });
    this.quiet = Promise.race([calm.promise, this.ended]);
  }

  /** What it wrote to its standard error. */
  get errors(): string {
    return this.#errors;
  }

  /** The whole group, so that what runs under strace goes with it. */
  async kill(): Promise<void> {
    try {
      process.kill(-this.#child.pid!, 'SIGKILL');
    } catch {
      // It is gone already.
    }
    await this.ended;
  }
}

/** The ids whose effect is there, in the order of handling; each once, and each key in the order of publishing. */
export async function readEffects(dataDir: string): Promise<Set<string>> {
  const effects = await openEffects(dataDir);
  try {
    const rows = await effects.db.selectFrom('effect').selectAll().orderBy('seq').execute();
    const last = new Map<string, number>();
    for (const { turn, n } of rows) {
      assert.ok(n > (last.get(turn) ?? -1), `${turn}: ${n} was handled after ${last.get(turn)}`);
      last.set(turn, n);
    }
    return new Set(rows.map((row) => row.id));
  } finally {
    await effects.stop(5_000);
  }
}

/** The ids that are still on the bus. That its counters agree with what it shows is checked here. */
export async function readPending(bus: Bus, queue: string): Promise<Set<string>> {
  const ids = new Set<string>();
  for (const dead of [false, true]) {
    let after: string | undefined;
    do {
      const page = await bus.browse(queue, { dead, limit: 1_000, ...(after === undefined ? {} : { after }) });
      for (const { id } of page.messages) ids.add(id);
      after = page.next ?? undefined;
    } while (after !== undefined);
  }
  const state = (await bus.inspect()).find(({ name }) => name === queue)!;
  assert.equal(state.ready.urgent + state.ready.normal + state.ready.bulk + state.waiting + state.dead + state.inFlight, ids.size, `the counters are wrong: ${JSON.stringify(state)}`);
  return ids;
}
