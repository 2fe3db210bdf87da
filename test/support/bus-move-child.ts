import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MoveLedger } from '../../src/fabric/bus-move.ts';
import type { FullBus } from '../../src/fabric/bus-sides.ts';
import { MovableBus } from '../../src/fabric/movable-bus.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { toFault } from '../../src/kernel/fault.ts';
import type { Bus, Outgoing } from '../../src/ports/bus.ts';
import { batchOf, openEffects, QUEUE, recording } from './bus-ledger-child.ts';
import { type BusDriverName, createBus, isEmpty } from './buses.ts';
import { silentLog, testContext } from './context.ts';
import { type Random, seeded } from './seed.ts';

/*
 * A process that publishes and consumes while its messages are moved from one bus to another, for tests that kill it.
 * Lines of output: `ok <id>` for what was published, `done` when the move is over, `quiet` when besides all has been handled.
 */
export interface MovePlan {
  readonly drivers: readonly [from: BusDriverName, to: BusDriverName];
  /** Of the old bus, of the new one, and of the effects. */
  readonly places: readonly [from: string, to: string, effects: string];
  /** In front of every id. */
  readonly run: string;
  readonly publishers: number;
  /** How many each of them sends; 0: only finish. */
  readonly each: number;
  /** How long it works before the move is asked for; undefined for a process that only goes on with one. */
  readonly moveAfterMs?: number;
}

/** Jobs in `q`; events whose one subscriber is `p`; nobody publishes to the others, which lie before, between and behind. */
export const MOVED_QUEUES = ['a', 'q', 'm', 'p', 'z'].map((name) => ({ ...QUEUE, name, topics: name === 'p' ? ['suite.happened'] : [] }));

/** In one small file beside the effects. */
export class FileLedger implements MoveLedger {
  readonly #path: string;

  constructor(folder: string) {
    this.#path = join(folder, 'move.json');
  }

  /** What an earlier process noted; undefined before a move. */
  get state(): { readonly moved: readonly string[]; readonly isOver: boolean } | undefined {
    return existsSync(this.#path) ? JSON.parse(readFileSync(this.#path, 'utf8')) : undefined;
  }

  async note(moved: readonly string[]): Promise<void> {
    this.#write({ moved, isOver: false });
  }

  async close(): Promise<void> {
    this.#write({ moved: [], isOver: true });
  }

  #write(state: object): void {
    writeFileSync(`${this.#path}.new`, JSON.stringify(state));
    renameSync(`${this.#path}.new`, this.#path);
  }
}

export function movableAt({ drivers: [from, to], places }: Pick<MovePlan, 'drivers' | 'places'>): { bus: MovableBus; begin(): Promise<void>; ledger: FileLedger } {
  const ledger = new FileLedger(places[2]);
  const oldBus = createBus(from, testContext({ dataDir: places[0] }), { minFreeBytes: 0 }) as FullBus;
  const newBus = createBus(to, testContext({ dataDir: places[1] }), { minFreeBytes: 0 }) as FullBus;
  const { state } = ledger;
  const context = { clock: systemClock, log: silentLog };
  if (state?.isOver) return { bus: new MovableBus({ ...context, bus: newBus }), begin: async () => {}, ledger };
  if (state !== undefined) return { bus: new MovableBus({ ...context, bus: oldBus, move: { bus: newBus, ledger, moved: state.moved } }), begin: async () => {}, ledger };
  const bus = new MovableBus({ ...context, bus: oldBus });
  return { bus, begin: () => bus.move({ bus: newBus, ledger }), ledger };
}

async function publishing(bus: Bus, plan: MovePlan, publisher: number, random: Random): Promise<void> {
  for (let n = 0; n < plan.each; ) {
    const batch = batchOf(plan.run, publisher, n, random).map((message): Outgoing => (publisher % 2 === 0 ? message : { ...message, to: { topic: 'suite.happened' } }));
    n += batch.length;
    // As the outbox does: again until the bus has it, so that the order stays.
    while (!(await bus.publish(batch).then(() => true, (thrown: unknown) => (process.stderr.write(`${toFault(thrown).message}\n`), false)))) await sleep(5);
    process.stdout.write(batch.map(({ id }) => `ok ${id}\n`).join(''));
  }
}

async function main(plan: MovePlan): Promise<void> {
  setInterval(() => {}, 1_000);
  const random = seeded(() => {});
  const { bus, begin, ledger } = movableAt(plan);
  const effects = await openEffects(plan.places[2]);
  await bus.start();
  for (const settings of MOVED_QUEUES) await bus.declare(settings);
  for (const { name } of MOVED_QUEUES) for (const concurrency of [3, 10]) await bus.consume(name, { concurrency }, recording(effects, random));
  const sending = Promise.all(Array.from({ length: plan.publishers }, (_, publisher) => publishing(bus, plan, publisher, random)));
  if (plan.moveAfterMs !== undefined) {
    await sleep(plan.moveAfterMs);
    await begin();
  }
  while (ledger.state !== undefined && !ledger.state.isOver) {
    if (bus.progress?.state === 'failed') process.stderr.write(`${bus.progress.problem}\n`);
    await sleep(5);
  }
  process.stdout.write('done\n');
  await sending;
  while (!(await bus.inspect()).every(isEmpty)) await sleep(10);
  process.stdout.write('quiet\n');
  await bus.stop(5_000);
  await effects.stop(5_000);
  process.exit();
}

if (process.argv[1] === import.meta.filename) await main(JSON.parse(process.argv[2]!) as MovePlan);
