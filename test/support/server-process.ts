import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freeze, thaw } from './freeze.ts';

const START_MS = 60_000;

/** A real server on a port of loopback that it keeps over restarts. */
export class ServerProcess {
  readonly port: number;
  readonly #command: string;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;
  readonly #killAtExit = (): void => void this.#child?.kill('SIGKILL');

  constructor(command: string, args: readonly string[], port: number) {
    this.#command = command;
    this.#args = args;
    this.port = port;
  }

  /** Resolves when it takes connections. */
  async start(): Promise<this> {
    const child = spawn(this.#command, this.#args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child = child;
    process.once('exit', this.#killAtExit);
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString().slice(0, 1_000)));
    const failed = new Promise<never>((_, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`${this.#command} ended with ${code}: ${said}`)));
    });
    failed.catch(() => {});
    for (const deadline = Date.now() + START_MS; !(await Promise.race([accepts(this.port), failed])); ) {
      if (Date.now() > deadline) throw new Error(`${this.#command} does not listen on port ${this.port}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return this;
  }

  /** It keeps its connections and its port and does nothing. */
  freeze(): void {
    freeze(this.#child!.pid!);
  }

  thaw(): void {
    thaw(this.#child!.pid!);
  }

  /** The same of one that has a process for each connection. */
  freezeAll(): void {
    this.freeze();
    for (const pid of this.#children()) freeze(pid);
  }

  thawAll(): void {
    for (const pid of this.#children()) thaw(pid);
    this.thaw();
  }

  /** At once, as in a crash. Resolves when it is gone; killing what is not there does nothing. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    process.removeListener('exit', this.#killAtExit);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  #children(): number[] {
    const { pid } = this.#child!;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return children === '' ? [] : children.split(' ').map(Number);
  }
}

/** Ports from which the system gives none to outgoing connections, so that nobody takes one while its server is away. */
const PORTS = { from: 10_000, below: 32_000 };

/** Ports that a process of the tests has given out have a file here, since several look for some at the same time. */
const RESERVED = join(tmpdir(), 'multilith-ports');
/** What a killed process has left is worth nothing after the longest of test files. */
const STALE_MS = 20 * 60_000;
const given = new Set<number>();
process.once('exit', () => given.forEach((port) => rmSync(join(RESERVED, String(port)), { force: true })));

/** A port of loopback on which nobody listens, another one each time, in whatever process of the tests. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.from + Math.floor(Math.random() * (PORTS.below - PORTS.from));
    if (reserve(port) && (await isFree(port))) return port;
  }
}

function reserve(port: number): boolean {
  if (given.has(port)) return false;
  const file = join(RESERVED, String(port));
  try {
    mkdirSync(RESERVED, { recursive: true });
    if (existsSync(file) && Date.now() - statSync(file).mtimeMs > STALE_MS) rmSync(file);
    writeFileSync(file, '', { flag: 'wx' });
  } catch (error) {
    // Where it cannot be written, chance has to do.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
  }
  given.add(port);
  return true;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    }).on('error', () => resolve(false));
  });
}
