import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { bareEnvironment } from './bare-environment.ts';
import { freeze, thaw } from './freeze.ts';

const MAIN = join(import.meta.dirname, '../../src/main.js');
/** It needs about two seconds of a processor, of which a machine with much else to do may give it a tenth. */
const START_MS = 60_000;
/** One that is frozen takes connections and says nothing. */
const ANSWER_MS = 5_000;
/** A second in the figures of proc(5) has so many, on every Linux that there is. */
const CLOCK_TICKS = 100;
const LAST_LINES = 40;

export interface MultilithOptions {
  /** Default: a new folder, removed by `dispose`. */
  readonly dataDir?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** Arguments of node itself, before the program. */
  readonly execArgv?: readonly string[];
  /** Where the program lies that starts it all, e.g. `['strace', '-f']`. */
  readonly wrapper?: readonly string[];
  /** The program, when it is another build. */
  readonly main?: string;
  /** What is typed instead of all that, and where, e.g. `['npm', 'start', '--']`; `args` follow. */
  readonly typed?: { readonly command: readonly string[]; readonly cwd: string };
}

/** A real `multilith start` in a process of its own, on a port that was free. */
export class Multilith {
  readonly dataDir: string;
  readonly process: ChildProcess;
  readonly #output: string[] = [];
  readonly #ownsData: boolean;
  #url: string | undefined;

  private constructor({ dataDir, env, args = [], execArgv, wrapper, main, typed }: MultilithOptions) {
    this.#ownsData = dataDir === undefined;
    this.dataDir = dataDir ?? mkdtempSync(join(tmpdir(), 'multilith-'));
    const [command, ...rest] = [...(typed?.command ?? [...(wrapper ?? []), process.execPath, ...(execArgv ?? []), main ?? MAIN, 'start']), ...args];
    const child = spawn(command!, rest, {
      ...(typed !== undefined && { cwd: typed.cwd }),
      env: { ...bareEnvironment(), MULTILITH_DATA: this.dataDir, MULTILITH_HTTP_LISTEN: '127.0.0.1:0', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => this.#output.push(text));
    this.process = child;
  }

  /** Resolves when it is ready for work; rejects with what it printed when it ends first or takes too long. */
  static async start(options: MultilithOptions = {}): Promise<Multilith> {
    const multilith = Multilith.launch(options);
    try {
      await multilith.untilReady();
      return multilith;
    } catch (error) {
      await multilith.dispose();
      throw error;
    }
  }

  /** At once, with the start under way. */
  static launch(options: MultilithOptions = {}): Multilith {
    return new Multilith(options);
  }

  async untilReady(): Promise<void> {
    this.#url = await listening(this.process, this.#output);
  }

  /** Known when it is ready. */
  get url(): string {
    return this.#url!;
  }

  /** Everything that it has printed, standard error included. */
  get output(): string {
    return this.#output.join('');
  }

  /** Resolves when it has printed that. */
  async says(what: RegExp, deadlineMs = 60_000): Promise<void> {
    for (const end = Date.now() + deadlineMs; !what.test(this.output); await new Promise((resolve) => setTimeout(resolve, 25))) {
      if (Date.now() > end) throw new Error(`multilith has not said ${what} within ${deadlineMs} ms:\n${this.output}`);
    }
  }

  get running(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  /** Stops it in order; answers the exit code. */
  async stop(): Promise<number | null> {
    return this.#end('SIGTERM');
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** It keeps its ports, connections and locks and does nothing. */
  freeze(): void {
    freeze(this.process.pid!);
  }

  thaw(): void {
    thaw(this.process.pid!);
  }

  /** What it holds in memory just now. */
  get residentMb(): number {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.process.pid}/status`, 'utf8'))![1]) / 1_024;
  }

  /** Ends it if it still runs, and removes its data. */
  async dispose(): Promise<void> {
    await this.kill();
    if (this.#ownsData) rmSync(this.dataDir, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.running) {
      const exited = once(this.process, 'exit');
      this.process.kill(signal);
      await exited;
    }
    return this.process.exitCode;
  }
}

async function listening(child: ChildProcess, output: string[]): Promise<string> {
  const deadline = AbortSignal.timeout(START_MS);
  for (;;) {
    const url = /http:\/\/(?:127\.0\.0\.1|localhost):\d+/.exec(output.join(''))?.[0];
    if (url !== undefined && (await ready(url))) return url;
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`multilith ended with ${child.exitCode ?? child.signalCode}:\n${output.join('')}`);
    if (deadline.aborted) throw new Error(`multilith was not ready within ${START_MS} ms; ${effortOf(child)}:\n${lastOf(output)}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Whether it was idle, working, or had no processor to work on. */
function effortOf({ pid }: ChildProcess): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // proc_pid_stat(5): the name may hold spaces; the fields behind it begin with the third.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const seconds = (...nth: number[]) => nth.reduce((sum, field) => sum + Number(fields[field - 3]), 0) / CLOCK_TICKS;
  const ageS = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) - seconds(22);
  return `process ${pid} is ${ageS.toFixed(1)} s old and has had ${seconds(14, 15).toFixed(1)} s of a processor, state ${fields[0]}, load ${loadavg().map((load) => load.toFixed(1)).join(' ')}`;
}

function lastOf(output: readonly string[]): string {
  return output.join('').split('\n').slice(-LAST_LINES).join('\n');
}

async function ready(url: string): Promise<boolean> {
  return fetch(`${url}/readyz`, { signal: AbortSignal.timeout(ANSWER_MS) }).then(
    async (response) => {
      await response.arrayBuffer();
      return response.ok;
    },
    () => false,
  );
}
