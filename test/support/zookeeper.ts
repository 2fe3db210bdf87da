import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { zooKeeperServer } from '../../src/app/servers/zookeeper-server.ts';
import { freeze, thaw } from './freeze.ts';

/** Shorter than a product's, so that sessions of half a second can be had. */
const TICK_MS = 250;

/** A real ZooKeeper server on a port of its own, with its data in a directory of its own. */
export class ZooKeeperServer {
  readonly port: number;
  readonly #directory: string;
  readonly #data: string;
  #process: ChildProcess | undefined;
  #errors = '';

  private constructor(port: number) {
    this.port = port;
    this.#directory = mkdtempSync(join(tmpdir(), 'multilith-zookeeper-'));
    this.#data = join(this.#directory, 'data');
  }

  static async start(): Promise<ZooKeeperServer> {
    const server = new ZooKeeperServer(await freePort());
    await server.up();
    return server;
  }

  /** Starts it, again after `kill` with the data that it had; resolves when it serves. */
  async up(): Promise<void> {
    mkdirSync(this.#data, { recursive: true });
    const { command } = zooKeeperServer({ port: this.port, directory: this.#data, tickMs: TICK_MS });
    // Goes with the test's process, also where that is killed.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.on('data', (text: Buffer) => (this.#errors = (this.#errors + text.toString()).slice(-4_000)));
    this.#process = child;
    for (const end = Date.now() + 30_000; (await this.ask('ruok').catch(() => '')) !== 'imok'; await sleep(20)) {
      if (child.exitCode !== null || Date.now() > end) throw new Error(`ZooKeeper does not serve: ${this.#errors}`);
    }
  }

  /** The answer to a four-letter word. */
  async ask(word: 'ruok' | 'mntr' | 'cons'): Promise<string> {
    const socket = connect(this.port, '127.0.0.1').setEncoding('utf8').setTimeout(2_000, () => socket.destroy(new Error('no answer')));
    socket.end(word);
    let answer = '';
    for await (const text of socket) answer += text;
    return answer;
  }

  freeze(): void {
    freeze(this.#process!.pid!);
  }

  thaw(): void {
    thaw(this.#process!.pid!);
  }

  /** As a power cut would, but for the disk. */
  async kill(): Promise<void> {
    const child = this.#process!;
    const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
    child.kill('SIGKILL');
    await ended;
  }

  /** Takes away what a killed one has stored. */
  wipe(): void {
    rmSync(this.#data, { recursive: true });
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
