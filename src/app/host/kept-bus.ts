import type { DriverContext } from '../../kernel/driver.ts';
import { Fault } from '../../kernel/fault.ts';
import type { MoveProgress } from '../../fabric/bus-move.ts';
import type { FullBus } from '../../fabric/bus-sides.ts';
import { MovableBus } from '../../fabric/movable-bus.ts';
import type { Bus } from '../../ports/bus.ts';
import type { Storage } from '../../ports/storage.ts';
import { type Config, readConfig } from '../config/config.ts';
import type { Parts } from '../config/parts.ts';
import { formatProblem } from '../config/problem.ts';
import { BootProblem } from './boot-problem.ts';
import { moveFile, type MoveRecord, readMove } from './bus-move-file.ts';
import { createBus } from './drivers.ts';

/** Another topology, where messages or data are to go to. */
export type ReadTopology = (topology: string) => Pick<Config, 'bus' | 'storage'>;

export interface KeptBusOptions {
  readonly config: Config;
  /** The host that keeps the messages: this one. */
  readonly host: string;
  readonly parts: Parts;
  readonly context: DriverContext;
  readonly readTopology: ReadTopology;
}

/** The bus of the host that keeps the messages, which can be told to take them to another one. */
export class KeptBus {
  readonly bus: Bus;
  readonly #options: KeptBusOptions;
  /** Undefined with a driver whose messages cannot be moved. */
  readonly #movable: MovableBus | undefined;
  /** The bus that the configuration names, and its place. */
  readonly #named: Bus;
  readonly #place: string | undefined;

  /** Opens nothing. @throws BootProblem when the messages are not in the bus that the configuration names. */
  constructor(options: KeptBusOptions) {
    const { config, parts, context } = options;
    this.#options = options;
    const bus = createBus(config.bus, parts, context);
    this.#named = bus;
    if (!hasContents(bus)) {
      this.bus = bus;
      return;
    }
    this.#place = bus.contents.place;
    const record = readMove(config.dataDir);
    const move = record === undefined ? undefined : this.#standing(record, bus);
    this.#movable = new MovableBus({ bus, clock: context.clock, log: context.log, ...(move !== undefined && { move }) });
    this.bus = this.#movable;
  }

  /** The database of the messages, where and while this process keeps them. Not to be relied upon once they are being moved. */
  get kept(): Storage | undefined {
    return this.#named.kept;
  }

  /** How far the move is that was asked for last; null before. */
  get progress(): MoveProgress | null {
    return this.#movable?.progress ?? null;
  }

  /**
   * Begins to take the messages to the bus of a topology (absolute path), or goes on with that; answers how far it is.
   * Faults: `invalid`, `conflict` (another move is under way; the new bus holds messages or is this one), those of the buses.
   */
  async move(topology: string): Promise<MoveProgress> {
    const movable = this.#movable;
    if (movable === undefined) throw new Fault('invalid', `The messages of the bus ${this.#options.config.bus.driver} cannot be moved.`, { reason: 'bus_immovable' });
    const target = this.#target(topology);
    const { place } = target.contents;
    if (movable.isMoving) this.#requireSame(place);
    else await this.#begin(movable, target, topology);
    movable.goOn();
    return movable.progress!;
  }

  /**
   * Has a move that is not over turned back, or goes on with that; answers how far it is. Faults: `conflict` (there is no
   * such move), those of the buses.
   */
  async turnBack(): Promise<MoveProgress> {
    const { config } = this.#options;
    const record = readMove(config.dataDir);
    if (record === undefined) throw new Fault('conflict', 'No move is under way.', { reason: 'no_move' });
    const { from, to, topology, back, isOver } = record;
    if (isOver && back === null) throw new Fault('conflict', `The move to ${to} is over. To take the messages back, start with that bus and move them: bus move --to <the topology from before>.`, { reason: 'no_move' });
    const movable = this.#movable!;
    if (back !== null) {
      movable.goOn();
      return movable.progress ?? turnedBack(from, to);
    }
    await movable.turnBack(moveFile(config.dataDir, { from: to, to: from, topology: config.topology, back: topology }));
    return movable.progress ?? turnedBack(to, from);
  }

  async #begin(movable: MovableBus, target: FullBus, topology: string): Promise<void> {
    const { config } = this.#options;
    const from = this.#place!;
    const to = target.contents.place;
    if (from === to) throw new Fault('conflict', `The messages lie there already: ${to}.`, { reason: 'same_bus' });
    if (movable.capabilities.spansHosts && isShared(config)) throw new Fault('conflict', 'Several hosts publish to this bus by themselves; a move needs all of them to stop but one. Run this host alone, with a topology that has one host.', { reason: 'bus_shared' });
    const record = readMove(config.dataDir);
    const unfinished = record?.isOver === false && record.to === to ? { moved: record.moved } : {};
    await movable.move({ bus: target, ledger: moveFile(config.dataDir, { from, to, topology, back: null }), ...unfinished }).catch((thrown: unknown) => {
      if (!Fault.is(thrown) || thrown.code !== 'unavailable') throw thrown;
      throw new Fault('unavailable', `The move to ${to} cannot begin: ${thrown.message} "multilith doctor --topology ${topology}" says what that bus lacks.`, { reason: thrown.reason, cause: thrown });
    });
  }

  #requireSame(place: string): void {
    const { to, state } = this.#movable!.progress!;
    if (to === place) return;
    const what = state === 'done' ? `The messages have been moved to ${to}; start with that bus` : `A move to ${to} is under way; let it end`;
    throw new Fault('conflict', `${what} before they go anywhere else.`, { reason: 'move_under_way' });
  }

  /** What an earlier process has left of a move; undefined when it is over and the configuration names the new bus. */
  #standing(record: MoveRecord, bus: FullBus) {
    const { from, to, topology, back, moved, isOver } = record;
    const { place } = bus.contents;
    if (isOver && place === to) return undefined;
    if (isOver) throw new BootProblem(`The messages of this installation have been moved to another bus (${to}), and this configuration names ${place}.`, `Start with --topology ${topology}, or take its section "bus" over into your own. To take them back, start with it and run: multilith bus move --to <this topology>`);
    const isBack = back !== null && place === to;
    if (place !== from && !isBack) throw new BootProblem(`Messages of this installation are on their way from one bus (${from}) to another (${to}), and this configuration names ${place}.`, 'Start with the configuration from before; the move then goes on by itself. Change the configuration when it has ended.');
    if (bus.capabilities.spansHosts && isShared(this.#options.config)) throw new BootProblem(`Messages of this installation are on their way to another bus (${to}), and this topology has several hosts or replicas.`, 'Start one host that runs all modules; the move then goes on by itself. Start the others when it has ended.');
    try {
      return { bus: this.#target(isBack ? back : topology), ledger: moveFile(this.#options.config.dataDir, { from, to, topology, back }), moved, isBack };
    } catch (error) {
      if (moved.length === 0 && !isBack) {
        this.#options.context.log.error({ err: error }, 'the bus that the messages are to be moved to cannot be opened; they stay where they are');
        return undefined;
      }
      throw new BootProblem(`Messages of this installation are on their way ${isBack ? 'back from' : 'to'} another bus (${isBack ? from : to}), which cannot be opened: ${(error as Error).message}`, `Put ${isBack ? back : topology} right; it says where that bus is.`, error);
    }
  }

  #target(topology: string): FullBus {
    const { host, parts, readTopology } = this.#options;
    const { bus: chosen } = readTopology(topology);
    if (chosen.host !== null && chosen.host !== host) throw new Fault('invalid', `By ${topology} the host ${chosen.host} keeps the messages. They can go to another bus of ${host}; name it there as bus.host.`, { reason: 'other_keeper' });
    const bus = createBus(chosen, parts, this.#beside);
    if (!hasContents(bus)) throw new Fault('invalid', `Messages cannot be moved to the bus ${chosen.driver}.`, { reason: 'bus_immovable' });
    return bus;
  }

  /** Counts of both buses add up; what they hold just now is shown of the first alone. */
  get #beside(): DriverContext {
    const { context } = this.#options;
    const { metrics } = context;
    return { ...context, metrics: { counter: (...of) => metrics.counter(...of), histogram: (...of) => metrics.histogram(...of), gauge() {} } };
  }
}

/** A topology as its file and this environment say. Fault `invalid` with everything that is wrong, for somebody whose shell has another environment. */
export function readTopologyWith(parts: Parts, { env, cwd }: { readonly env: NodeJS.ProcessEnv; readonly cwd: string }): ReadTopology {
  return (topology) => {
    const { config, problems } = readConfig({ topology, topologyOption: '--to', env, cwd }, parts);
    if (config === undefined) {
      const wrong = problems.filter(({ severity }) => severity === 'error').map(formatProblem);
      throw new Fault('invalid', ['The host cannot take this topology, read with the environment that it was started with:', ...wrong].join('\n  '), { reason: 'topology_invalid' });
    }
    return config;
  };
}

function turnedBack(from: string, to: string): MoveProgress {
  return { state: 'done', from, to, queues: [], longestHoldMs: 0, problem: null };
}

function hasContents(bus: Bus): bus is FullBus {
  return bus.contents !== undefined;
}

/** More than one process uses the bus, and of one that spans hosts each does so by itself. */
function isShared({ hosts }: Config): boolean {
  return Object.keys(hosts).length > 1 || Object.values(hosts).some(({ replicas }) => replicas > 1);
}
