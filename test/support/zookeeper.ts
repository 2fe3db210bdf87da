import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Debian's, of libzookeeper-java; what else it needs its manifest names. */
const JARS = ['zookeeper.jar', 'slf4j-simple.jar'].map((jar) => `/usr/share/java/${jar}`);

/** A real ZooKeeper server on a port of its own, with its data in a directory of its own. */
export class ZooKeeperServer {
  readonly port: number;
  readonly #directory: string;
  #process: ChildProcess | undefined;
  #errors = '';

  private constructor(port: number) {
    this.port = port;
    this.#directory = mkdtempSync(join(tmpdir(), 'multilith-zookeeper-'));
  }

  static async start(): Promise<ZooKeeperServer> {
    const server = new ZooKeeperServer(await freePort());
    await server.up();
    return server;
  }

  /** Starts it, again after `kill` with the data that it had; resolves when it serves. */
  async up(): Promise<void> {
    const data = join(this.#directory, 'data');
    mkdirSync(data, { recursive: true });
    const config = join(this.#directory, 'zoo.cfg');
    writeFileSync(
      config,
      [
        'tickTime=250',
        `dataDir=${data}`,
        `clientPort=${this.port}`,
        'clientPortAddress=127.0.0.1',
        'admin.enableServer=false',
        '4lw.commands.whitelist=ruok,mntr,cons',
        'minSessionTimeout=500',
        'maxSessionTimeout=60000',
        'maxClientCnxns=0',
        'preAllocSize=4096',
      ].join('\n'),
    );
    const options = ['-Xms16m', '-Xmx96m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Dzookeeper.jmx.log4j.disable=true', '-Dorg.slf4j.simpleLogger.defaultLogLevel=error'];
    const java = ['java', ...options, '-cp', JARS.join(':'), 'org.apache.zookeeper.server.ZooKeeperServerMain', config];
    // Goes with the test's process, also where that is killed.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...java], { stdio: ['ignore', 'ignore', 'pipe'] });
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
    this.#process!.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process!.kill('SIGCONT');
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
    rmSync(join(this.#directory, 'data'), { recursive: true });
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
