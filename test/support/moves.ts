import type { TestContext as Test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MoveLedger, MoveProgress } from '../../src/fabric/bus-move.ts';
import type { FullBus } from '../../src/fabric/bus-sides.ts';
import { MovableBus } from '../../src/fabric/movable-bus.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { type BusDriverName, busUnderTest } from './buses.ts';
import { silentLog } from './context.ts';

export interface MoveUnderTest {
  readonly movable: MovableBus;
  /** Started, behind the movable one. */
  readonly old: FullBus;
  /** Not started. */
  readonly target: FullBus;
  /** What the ledger was told, `over` at the end. */
  readonly noted: string[][];
  readonly ledger: MoveLedger;
  /** To the new bus, unless another is named. */
  move(bus?: FullBus, ledger?: MoveLedger): Promise<void>;
}

export async function moveUnderTest(t: Test, [from, to]: readonly [BusDriverName, BusDriverName]): Promise<MoveUnderTest> {
  const [old, target] = [from, to].map((driver) => {
    const under = busUnderTest(driver);
    return under.create(t, under.place(t)) as FullBus;
  }) as [FullBus, FullBus];
  const movable = new MovableBus({ bus: old, clock: systemClock, log: silentLog });
  t.after(() => movable.stop(2_000));
  await movable.start();
  const noted: string[][] = [];
  const own: MoveLedger = { note: async (moved) => void noted.push([...moved]), close: async () => void noted.push(['over']) };
  return { movable, old, target, noted, ledger: own, move: (bus = target, ledger = own) => movable.move({ bus, ledger }) };
}

type Trouble = false | true | 'hangs';

/** A bus that throws or hangs where it is told to. */
export function brittleBus(bus: FullBus, at: { readonly add?: (queue: string) => Trouble; readonly inspect?: (queue: string | undefined) => Trouble; /** What a publish waits for. */ readonly publish?: () => Promise<void> }): FullBus {
  const guard = async <T>(trouble: Trouble | undefined, work: () => Promise<T>): Promise<T> => {
    if (trouble === 'hangs') return new Promise(() => {});
    if (trouble === true) throw new Error('broken');
    return work();
  };
  const { contents } = bus;
  const own: Partial<FullBus> = {
    contents: { place: contents.place, queues: () => contents.queues(), read: (...args) => contents.read(...args), add: (...args) => guard(at.add?.(args[0]), () => contents.add(...args)) },
    inspect: (which) => guard(at.inspect?.(which?.queue), () => bus.inspect(which)),
    publish: async (messages) => {
      await at.publish?.();
      await bus.publish(messages);
    },
  };
  return new Proxy(bus, {
    get(_, name) {
      if (name in own) return own[name as keyof FullBus];
      const value: unknown = Reflect.get(bus, name, bus);
      return typeof value === 'function' ? value.bind(bus) : value;
    },
  });
}

export async function untilState(movable: MovableBus, state: MoveProgress['state']): Promise<void> {
  for (const end = Date.now() + 60_000; movable.progress?.state !== state; await sleep(2)) {
    if (Date.now() > end) throw new Error(`the move is ${JSON.stringify(movable.progress)}`);
    if (state === 'done' && movable.progress?.state === 'failed') throw new Error(movable.progress.problem!);
  }
}

export const untilDone = (movable: MovableBus) => untilState(movable, 'done');
