import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { requireConfig, type Config } from '../app/config/config.ts';
import { topologyFile } from '../app/config/layers.ts';
import { probe } from '../app/config/parts.ts';
import { didYouMean } from '../app/config/suggest.ts';
import { askHost, isRunning } from '../app/control/client.ts';
import { leaveDataDir, takeDataDir } from '../app/control/socket.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import { KeptBus, readTopologyWith } from '../app/host/kept-bus.ts';
import { parts } from '../app/parts.ts';
import { count } from '../app/plan/plan-text.ts';
import type { MoveProgress } from '../fabric/bus-move.ts';
import { Fault } from '../kernel/fault.ts';
import { EXIT, UsageError, type Args, type Command, type Io } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';

/** How often a move is asked how far it is. */
const LOOK_MS = 250;
/** Standard error is told at most so often when a program reads it. */
const TELL_MS = 1_000;
const STOP_MS = 10_000;

/** A move, wherever it happens. */
interface Mover {
  begin(topology: string): Promise<MoveProgress>;
  turnBack(): Promise<MoveProgress>;
  look(): Promise<MoveProgress>;
}

export const bus: Command = {
  name: 'bus',
  usage: 'move --to FILE | --cancel [options]',
  words: 1,
  details: `  move --to FILE    take all messages to the bus that another topology names, with nothing lost or repeated
  move --cancel     take back what a move has taken there that is not over, and end it

Of the topology that --to names only the section "bus" counts. A running host moves the messages itself, one
queue after the other, while it takes in events and works: it is asked through the socket in its data directory.
Without a running host the command does it. What is done is said on standard error.

It may be broken off and repeated at any time, the host killed and started again with its old configuration: the
move goes on. When it has ended, the next start needs the new bus; one that names the old bus is refused.

Exit codes: 0 all messages are there (back, with --cancel) · 1 it has stopped; every queue works where it is · 2 wrong option or configuration.`,
  options: {
    ...CONFIG_OPTIONS,
    to: { value: 'FILE', help: 'The topology whose bus the messages go to: a file, or the name of one in ./config.' },
    cancel: { help: 'Turn a move back that is under way or has stopped.' },
    json: { help: 'JSON for programs.' },
  },
  async run(args, io) {
    const [name] = args.words;
    if (name !== 'move') throw new UsageError(`${name === undefined ? 'bus needs to know what to do' : `There is no "bus ${name}".${didYouMean(name, ['move'])}`} There is: move.`);
    const topology = args.flag('cancel') ? undefined : targetOf(args, io);
    if (topology === undefined && args.text('to') !== undefined) throw new UsageError('bus move takes --to or --cancel.');
    const config = loadConfig(args, io, parts);
    const ended = await withMover(config, io, (mover) => follow(mover, topology, args, io));
    return report(ended, topology, args, io);
  },
};

/** @throws UsageError, ConfigError with all that is wrong with it. */
function targetOf(args: Args, { env, cwd }: Io): string {
  const to = args.text('to');
  if (to === undefined) throw new UsageError('bus move needs to know where to: --to FILE, a topology with another bus; or --cancel, to turn back a move that is not over.');
  const topology = topologyFile(to, cwd);
  requireConfig({ topology: topology ?? to, topologyOption: '--to', env, cwd }, parts);
  return topology!;
}

async function withMover(config: Config, { env, cwd }: Io, work: (mover: Mover) => Promise<MoveProgress>): Promise<MoveProgress> {
  const { dataDir } = config;
  const hosts = Object.keys(config.hosts);
  const keeper = config.bus.host ?? hosts[0]!;
  if (await isRunning(dataDir, keeper)) {
    return work({
      begin: (topology) => askHost(dataDir, keeper, 'POST', '/bus-move', { topology }) as Promise<MoveProgress>,
      turnBack: () => askHost(dataDir, keeper, 'POST', '/bus-move/back', {}) as Promise<MoveProgress>,
      look: () => askHost(dataDir, keeper, 'GET', '/bus-move') as Promise<MoveProgress>,
    });
  }
  if (!existsSync(dataDir)) throw new BootProblem(`There is no data directory ${dataDir}.`, 'Name that of the host with MULTILITH_DATA.');
  for (const host of hosts) if (await isRunning(dataDir, host)) throw new BootProblem(`The host ${keeper} keeps the messages and does not run here, while ${host} does.`, `Start ${keeper}, or run this command on its machine.`);
  const lock = await takeDataDir(dataDir, keeper);
  try {
    const kept = new KeptBus({ config, host: keeper, parts, context: probe(dataDir), readTopology: readTopologyWith(parts, { env, cwd }) });
    await kept.bus.start();
    try {
      return await work({ begin: (topology) => kept.move(topology), turnBack: () => kept.turnBack(), look: async () => kept.progress! });
    } finally {
      await kept.bus.stop(STOP_MS);
    }
  } finally {
    await leaveDataDir(lock, dataDir, keeper);
  }
}

/** Until it has ended or stopped. */
async function follow({ begin, turnBack, look }: Mover, topology: string | undefined, args: Args, io: Io): Promise<MoveProgress> {
  const tell = teller(args, io);
  let progress = await (topology === undefined ? turnBack() : begin(topology)).catch(wentAway);
  for (tell(progress); progress.state === 'moving'; tell(progress)) {
    await pause(LOOK_MS);
    progress = await look().catch(wentAway);
  }
  return progress;
}

function wentAway(thrown: unknown): never {
  if (!Fault.is(thrown) || thrown.reason !== 'host_silent') throw thrown;
  throw new BootProblem(`The host went away: ${thrown.message}`, 'Start it again with the same configuration: a move that had begun then goes on by itself, and this command shows how far it is.', thrown);
}

/** Each queue once it has moved; for programs how far it is, once a second. */
function teller(args: Args, io: Io): (progress: MoveProgress) => void {
  const told = new Set<string>();
  let last = -Infinity;
  return (progress) => {
    const moved = progress.queues.filter(({ queue, state }) => state === 'moved' && !told.has(queue));
    for (const { queue } of moved) told.add(queue);
    if (!args.flag('json')) return moved.forEach(({ queue, copied }) => io.error(`${queue}: moved, ${count(copied, 'message')}`));
    if (progress.state !== 'moving' || performance.now() - last < TELL_MS) return;
    last = performance.now();
    io.error(JSON.stringify(progress));
  };
}

function report(progress: MoveProgress, topology: string | undefined, args: Args, io: Io): number {
  const { state, to, queues, longestHoldMs, problem } = progress;
  if (args.flag('json')) io.out(JSON.stringify(progress, undefined, 2));
  else if (state === 'done') {
    io.out(`All messages are ${topology === undefined ? 'back in the bus from before' : 'in the new bus'} (${to}): ${count(queues.length, 'queue')}, publishing held back for ${longestHoldMs} ms at most.`);
    if (topology !== undefined) io.out(`From the next start on: --topology ${topology}, or its section "bus" in your own.`);
  } else io.error(`The move has stopped: ${problem} Every queue works where it is; the same command goes on${topology === undefined ? '' : ', and --cancel turns it back'}.`);
  return state === 'done' ? EXIT.ok : EXIT.failed;
}
