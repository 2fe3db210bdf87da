import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

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
    this.#child!.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child!.kill('SIGCONT');
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
}

/** Ports from which the system gives none to outgoing connections, so that nobody takes one while its server is away. */
const PORTS = { from: 10_000, below: 32_000 };

const given = new Set<number>();

/** A port of loopback on which nobody listens, another one each time. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.from + Math.floor(Math.random() * (PORTS.below - PORTS.from));
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
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
