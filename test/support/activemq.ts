import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { type BrokerOptions, brokerCommand } from '../../src/app/servers/broker.ts';
import type { TlsMaterial } from '../../src/ports/transport.ts';
import { freeze, thaw } from './freeze.ts';
import { freePort } from './server-process.ts';

const START_MS = 60_000;

interface Options extends Omit<BrokerOptions, 'port' | 'directory'> {
  /** Where its data directory is made. */
  readonly under?: string;
  /** Changes the configuration that is shipped. */
  readonly edit?: (xml: string) => string;
  /** What it speaks TLS with. */
  readonly tls?: TlsMaterial;
  /** Of its process, in place of what it is started with. */
  readonly heapMb?: number;
}

/** A real ActiveMQ broker, as the product starts it, that speaks STOMP on a port of loopback, which it keeps over restarts, with a data directory of its own. */
export class ActiveMqServer {
  readonly port: number;
  #options: Options;
  readonly #directory: string;
  #process: ChildProcess | undefined;
  #output = '';

  private constructor(port: number, options: Options) {
    this.port = port;
    this.#options = options;
    this.#directory = mkdtempSync(join(options.under ?? tmpdir(), 'multilith-activemq-'));
  }

  static async start(options: Options = {}): Promise<ActiveMqServer> {
    const server = new ActiveMqServer(await freePort(), options);
    await server.up();
    return server;
  }

  /** Starts it, again after `kill` with the data that it had and `changes` to how it was started before; resolves when a client can connect. */
  async up(changes: Options = {}): Promise<void> {
    this.#options = { ...this.#options, ...changes };
    const { command, env } = this.#command();
    const { heapMb } = this.#options;
    const heap = heapMb === undefined ? {} : { _JAVA_OPTIONS: `-Xmx${heapMb}m` };
    // Goes with the test's process, also where that is killed.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env, ...heap } });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (this.#output = (this.#output + text.toString()).slice(-4_000)));
    this.#process = child;
    for (const end = Date.now() + START_MS; !(await this.#answers()); await sleep(20)) {
      if (child.exitCode !== null || Date.now() > end) throw new Error(`ActiveMQ does not serve: ${this.#output}`);
    }
  }

  /** It keeps its connections and its port and does nothing. */
  freeze(): void {
    freeze(this.#process!.pid!);
  }

  thaw(): void {
    thaw(this.#process!.pid!);
  }

  /** Resolves, with its status, when it has ended by itself. */
  async ended(): Promise<number | null> {
    const child = this.#process!;
    if (child.exitCode === null) await once(child, 'exit');
    return child.exitCode;
  }

  /** At once, as in a crash. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #command(): ReturnType<typeof brokerCommand> {
    const { edit, ...options } = this.#options;
    const { command, env } = brokerCommand({ port: this.port, directory: this.#directory, ...options });
    if (edit === undefined) return { command, env };
    const config = join(this.#directory, 'edited.xml');
    writeFileSync(config, edit(readFileSync(command.at(-1)!.replace('xbean:file:', ''), 'utf8')));
    return { command: [...command.slice(0, -1), `xbean:file:${config}`], env };
  }

  /** It takes connections before it serves them: only an answer to a handshake shows that it does. */
  #answers(): Promise<boolean> {
    return new Promise((resolve) => {
      const { user, tls } = this.#options;
      const login = user === undefined ? '' : `login:${user.name}\npasscode:${user.password}\n`;
      const open = (connected: () => void): Socket => (tls === undefined ? connect(this.port, '127.0.0.1', connected) : connectTls({ port: this.port, host: '127.0.0.1', ...tls }, connected));
      const socket = open(() => socket.write(`CONNECT\naccept-version:1.2\nhost:localhost\n${login}\n\0`));
      const answer = (yes: boolean) => {
        socket.destroy();
        resolve(yes);
      };
      socket.setTimeout(1_000, () => answer(false)).on('error', () => answer(false)).on('close', () => answer(false)).on('data', (data) => answer(data.toString().startsWith('CONNECTED')));
    });
  }
}
