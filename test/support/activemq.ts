import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from './server-process.ts';

/** Debian's: what activemq brings is complete but for what turns the statistics plugin's answers into JSON. */
const JARS = ['/usr/share/activemq/lib/*', '/usr/share/activemq/lib/optional/*', '/usr/share/java/xstream.jar', '/usr/share/java/jettison.jar'];
const START_MS = 60_000;

export interface BrokerOptions {
  /** Bytes that all messages together may take on disk. */
  readonly storeBytes?: number;
  /** Refuses everybody else. */
  readonly user?: { readonly name: string; readonly password: string };
}

/** A real ActiveMQ broker that speaks STOMP on a port of loopback, which it keeps over restarts, with a data directory of its own. */
export class ActiveMqServer {
  readonly port: number;
  readonly #options: BrokerOptions;
  readonly #directory = mkdtempSync(join(tmpdir(), 'multilith-activemq-'));
  #process: ChildProcess | undefined;
  #output = '';

  private constructor(port: number, options: BrokerOptions) {
    this.port = port;
    this.#options = options;
  }

  static async start(options: BrokerOptions = {}): Promise<ActiveMqServer> {
    const server = new ActiveMqServer(await freePort(), options);
    await server.up();
    return server;
  }

  /** Starts it, again after `kill` with the data that it had; resolves when a client can connect. */
  async up(): Promise<void> {
    mkdirSync(join(this.#directory, 'data'), { recursive: true });
    const config = join(this.#directory, 'broker.xml');
    const log = join(this.#directory, 'log4j.properties');
    writeFileSync(config, brokerXml(this.#options));
    writeFileSync(log, 'log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\nlog4j.appender.out.layout=org.apache.log4j.PatternLayout\nlog4j.appender.out.layout.ConversionPattern=%m%n\n');
    const options = ['-Xms32m', '-Xmx256m', '-XX:+UseSerialGC', `-Dlog4j.configuration=file:${log}`, `-Dactivemq.home=${this.#directory}`, `-Dactivemq.base=${this.#directory}`, `-Dmq.data=${join(this.#directory, 'data')}`, `-Dmq.port=${this.port}`, `-Dmq.store=${this.#options.storeBytes ?? 2 * 1024 ** 3}`];
    const java = ['java', ...options, '-cp', JARS.join(':'), 'org.apache.activemq.console.Main', 'start', `xbean:file:${config}`];
    // Goes with the test's process, also where that is killed.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...java], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (this.#output = (this.#output + text.toString()).slice(-4_000)));
    this.#process = child;
    for (const end = Date.now() + START_MS; !(await this.#answers()); await sleep(20)) {
      if (child.exitCode !== null || Date.now() > end) throw new Error(`ActiveMQ does not serve: ${this.#output}`);
    }
  }

  /** It keeps its connections and its port and does nothing. */
  freeze(): void {
    this.#process!.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process!.kill('SIGCONT');
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

  /** It takes connections before it serves them: only an answer to a handshake shows that it does. */
  #answers(): Promise<boolean> {
    return new Promise((resolve) => {
      const { user } = this.#options;
      const login = user === undefined ? '' : `login:${user.name}\npasscode:${user.password}\n`;
      const socket = connect(this.port, '127.0.0.1', () => socket.write(`CONNECT\naccept-version:1.2\nhost:localhost\n${login}\n\0`));
      const answer = (yes: boolean) => {
        socket.destroy();
        resolve(yes);
      };
      socket.setTimeout(1_000, () => answer(false)).on('error', () => answer(false)).on('close', () => answer(false)).on('data', (data) => answer(data.toString().startsWith('CONNECTED')));
    });
  }
}

/** What the product ships, and who may come in. */
function brokerXml({ user }: BrokerOptions): string {
  const shipped = readFileSync(fileURLToPath(new URL('../../../config/activemq.xml', import.meta.url)), 'utf8');
  if (user === undefined) return shipped;
  const { name, password } = user;
  return shipped.replace('<plugins>', `<plugins><simpleAuthenticationPlugin><users><authenticationUser username="${name}" password="${password}" groups="users"/></users></simpleAuthenticationPlugin>`);
}
