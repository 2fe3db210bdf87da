import { setTimeout as pause } from 'node:timers/promises';
import { askHost } from '../app/control/client.ts';
import { hostsOn } from '../app/control/running.ts';
import type { Config } from '../app/config/config.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import { parts } from '../app/parts.ts';
import { Fault } from '../kernel/fault.ts';
import type { SystemStatus } from '../kernel/system.ts';
import { EXIT, type Command, type Io } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';
import type { Reading } from './top/rates.ts';
import { plainText, Screen } from './top/screen.ts';
import { cell, type Line } from './top/table.ts';
import { linesOf } from './top/view.ts';

const REFRESH_MS = 1_000;
/** A host takes 1.5 s at most to hear from the others. */
const ANSWER_MS = 3_000;
/** Bytes a second are counted between two readings; once is a second one so much later. */
const BETWEEN_MS = 500;
const PLAIN_WIDTH = 80;

export const top: Command = {
  name: 'top',
  usage: '[--once] [--json] [options]',
  details: `Shows the hosts of the topology live: their modules, the calls between them with how long they take and
how many fail, the connections behind them, and the queues. Refreshes every second; q or Ctrl-C ends.
Asks a host that runs on this data directory, of whatever topology, which asks all others; one that cannot be reached is
listed with the reason. Calls a second, failures and times are those of the last minute, cache hits
those since the start. Calls within a process are not counted.

Exit codes: 0 shown · 1 no host runs here · 2 wrong option or configuration.`,
  options: {
    ...CONFIG_OPTIONS,
    once: { help: 'Print it once as plain text, and end. So it is when the output is no terminal.' },
    json: { help: 'For programs: one JSON object a second, each on a line; with --once a single one.' },
  },
  async run(args, io) {
    const config = loadConfig(args, io, parts);
    const once = args.flag('once');
    if (args.flag('json')) await printJson(config, once, io);
    else if (once || process.stdout.isTTY !== true) await printOnce(config, io);
    else await watch(config, new Screen(process.stdin, process.stdout, !process.env.NO_COLOR));
    return EXIT.ok;
  },
};

/** The whole system, as the first host sees it that runs here and answers, whether the topology that was asked for knows it or not. */
async function read({ dataDir }: Config): Promise<Reading> {
  let silent: unknown;
  for (const { host } of await hostsOn(dataDir)) {
    try {
      return { status: (await askHost(dataDir, host, 'GET', '/system', undefined, ANSWER_MS)) as SystemStatus, atMs: performance.now() };
    } catch (error) {
      silent = error;
    }
  }
  if (silent !== undefined) throw silent;
  throw new BootProblem(`No host runs on ${dataDir}.`, 'Start one, or name its data directory (MULTILITH_DATA).');
}

async function printJson(config: Config, once: boolean, io: Io): Promise<void> {
  for (;;) {
    const { status } = await read(config);
    io.out(JSON.stringify({ time: Date.now(), ...status }));
    if (once || !process.stdout.writable) return;
    await pause(REFRESH_MS);
  }
}

async function printOnce(config: Config, io: Io): Promise<void> {
  const before = await read(config);
  await pause(BETWEEN_MS);
  io.out(plainText(linesOf(await read(config), before, { width: process.stdout.columns || PLAIN_WIDTH, clock: clockOf(new Date()) })));
}

async function watch(config: Config, screen: Screen): Promise<void> {
  let before: Reading | undefined;
  let now = await read(config);
  let problem: string | undefined;
  const draw = () => screen.draw(problem === undefined ? linesOf(now, before, { width: screen.width, clock: clockOf(new Date()) }) : silentLines(problem));
  screen.open(draw);
  try {
    while (!screen.closed.aborted) {
      draw();
      await pause(REFRESH_MS, undefined, { signal: screen.closed }).catch(() => {});
      if (screen.closed.aborted) return;
      try {
        const next = await read(config);
        [before, now, problem] = [now, next, undefined];
      } catch (error) {
        if (!(error instanceof BootProblem) && !Fault.is(error)) throw error;
        problem = error.message;
      }
    }
  } finally {
    screen.close();
  }
}

/** Whoever watches a restart wants to see it come back. */
function silentLines(problem: string): Line[] {
  return [[cell(' Multilith', 'strong')], [cell(` ! ${problem}`, 'bad')], [], [cell(' Asked again every second. q ends.', 'faint')]];
}

function clockOf(now: Date): string {
  return now.toTimeString().slice(0, 8);
}
