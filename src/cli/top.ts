import { setTimeout as pause } from 'node:timers/promises';
import { systemOn } from '../app/control/running.ts';
import type { Config } from '../app/config/config.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import { parts } from '../app/parts.ts';
import { Fault } from '../kernel/fault.ts';
import { EXIT, type Command, type Io } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';
import type { Reading } from './top/rates.ts';
import { plainText, Screen } from './top/screen.ts';
import { cell, cutLine, type Line } from './top/table.ts';
import { linesOf, problemLines } from './top/view.ts';

const REFRESH_MS = 1_000;
/** A host takes 1.5 s at most to hear from the others. */
const ANSWER_MS = 3_000;
/** Bytes a second are counted between two readings; once is a second one so much later. */
const BETWEEN_MS = 500;
/** Where nobody says how wide the paper is. */
const PLAIN_WIDTH = 100;

/** The whole system, as a host sees it that runs here. @throws BootProblem when none does, Fault when none answers. */
type Read = () => Promise<Reading>;

export const top: Command = {
  name: 'top',
  usage: '[--once] [--json] [options]',
  details: `Shows the hosts of the topology live: their modules, the calls between them with how long they take and
how many fail, the connections behind them, and the queues. Refreshes every second; q or Ctrl-C ends.
Asks a host that runs on this data directory, of whatever topology, which asks all others; one that cannot be reached is
listed with the reason. Calls a second, failures and times are those of the last minute, cache hits
those since the start. Calls within a process are not counted.

Exit codes: 0 shown · 1 no host runs here, or --json and the last one has gone · 2 wrong option or configuration.`,
  options: {
    ...CONFIG_OPTIONS,
    once: { help: 'Print it once as plain text, and end. So it is when the output is no terminal.' },
    json: { help: 'For programs: one JSON object a second, each on a line; with --once a single one.' },
  },
  async run(args, io) {
    const read = readerOf(loadConfig(args, io, parts));
    const once = args.flag('once');
    if (args.flag('json')) await printJson(read, once, io);
    else if (once || process.stdout.isTTY !== true || io.env.TERM === 'dumb') await printOnce(read, io);
    else await watch(read, new Screen(process.stdin, process.stdout, !io.env.NO_COLOR));
    return EXIT.ok;
  },
};

/** Asks first whoever answered before: one that hangs is waited for once. */
function readerOf({ dataDir }: Config): Read {
  let before: string | undefined;
  return async () => {
    const seen = await systemOn(dataDir, ANSWER_MS, before);
    if (seen === undefined) throw new BootProblem(`No host runs on ${dataDir}.`, 'Start one, or name its data directory (MULTILITH_DATA).');
    before = seen.asked;
    return { status: seen.status, atMs: performance.now() };
  };
}

async function printJson(read: Read, once: boolean, io: Io): Promise<void> {
  // Whoever read it has had enough (`| head`).
  const left = new AbortController();
  process.stdout.once('error', () => left.abort());
  while (!left.signal.aborted) {
    const { status } = await read();
    io.out(JSON.stringify({ time: Date.now(), ...status }));
    if (once) return;
    await pause(REFRESH_MS, undefined, { signal: left.signal }).catch(() => {});
  }
}

async function printOnce(read: Read, io: Io): Promise<void> {
  const before = await read();
  await pause(BETWEEN_MS);
  io.out(plainText(linesOf(await read(), before, { width: io.width ?? PLAIN_WIDTH, clock: clockOf(new Date()) })));
}

async function watch(read: Read, screen: Screen): Promise<void> {
  let before: Reading | undefined;
  let now = await read();
  let problem: string | undefined;
  const draw = () => screen.draw(problem === undefined ? linesOf(now, before, { width: screen.width, clock: clockOf(new Date()) }) : silentLines(problem, screen.width));
  const closed = new Promise<undefined>((resolve) => screen.closed.addEventListener('abort', () => resolve(undefined), { once: true }));
  screen.open(draw);
  try {
    for (;;) {
      draw();
      await pause(REFRESH_MS, undefined, { signal: screen.closed }).catch(() => {});
      try {
        // Nobody who wants to leave waits for a host that does not answer.
        const next = await Promise.race([closed, read()]);
        if (next === undefined) return;
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
function silentLines(problem: string, width: number): Line[] {
  const lines: Line[] = [[cell(' Multilith', 'strong')], ...problemLines(problem, width), [], [cell(' Asked again every second. q ends.', 'faint')]];
  return lines.map((line) => cutLine(line, width));
}

function clockOf(now: Date): string {
  return now.toTimeString().slice(0, 8);
}
