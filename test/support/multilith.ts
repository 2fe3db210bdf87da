import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MAIN = join(import.meta.dirname, '../../src/main.js');
const START_MS = 20_000;

export interface MultilithOptions {
  /** Default: a new folder, removed by `dispose`. */
  readonly dataDir?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** Arguments of node itself, before the program. */
  readonly execArgv?: readonly string[];
  /** Where the program lies that starts it all, e.g. `['strace', '-f']`. */
  readonly wrapper?: readonly string[];
}

/** A real `multilith start` in a process of its own, on a port that was free. */
export class Multilith {
  readonly dataDir: string;
  readonly url: string;
  readonly process: ChildProcess;
  readonly #output: string[];
  readonly #ownsData: boolean;

  private constructor(process: ChildProcess, url: string, dataDir: string, ownsData: boolean, output: string[]) {
    this.process = process;
    this.url = url;
    this.dataDir = dataDir;
    this.#ownsData = ownsData;
    this.#output = output;
  }

  /** Resolves when it is ready for work; rejects with what it printed when it ends first or takes too long. */
  static async start(options: MultilithOptions = {}): Promise<Multilith> {
    const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'multilith-'));
    const [command, ...args] = [...(options.wrapper ?? []), process.execPath, ...(options.execArgv ?? []), MAIN, 'start', ...(options.args ?? [])];
    const child = spawn(command!, args, {
      env: { PATH: process.env.PATH, HOME: process.env.HOME, MULTILITH_DATA: dataDir, MULTILITH_HTTP_LISTEN: '127.0.0.1:0', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output: string[] = [];
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => output.push(text));
    const url = await listening(child, output).catch((error: unknown) => {
      child.kill('SIGKILL');
      if (options.dataDir === undefined) rmSync(dataDir, { recursive: true, force: true });
      throw error;
    });
    return new Multilith(child, url, dataDir, options.dataDir === undefined, output);
  }

  /** Everything that it has printed, standard error included. */
  get output(): string {
    return this.#output.join('');
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
    this.process.kill('SIGSTOP');
  }

  thaw(): void {
    this.process.kill('SIGCONT');
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
    if (deadline.aborted) throw new Error(`multilith was not ready within ${START_MS} ms:\n${output.join('')}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

async function ready(url: string): Promise<boolean> {
  return fetch(`${url}/readyz`).then(
    async (response) => {
      await response.arrayBuffer();
      return response.ok;
    },
    () => false,
  );
}
