import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const EXAMPLE = fileURLToPath(new URL('../../../docs/examples/worker.py', import.meta.url));

/** The example of docs/workers.md as a process, by Debian's Python, which has Debian's stomp.py. */
export class PythonWorker {
  readonly #process: ChildProcess;
  #said = '';

  /** Goes with the test's process, also where that is killed. */
  constructor(env: Readonly<Record<string, string>>) {
    this.#process = spawn('setpriv', ['--pdeathsig', 'KILL', '/usr/bin/python3', EXAMPLE], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process.stderr!.setEncoding('utf8').on('data', (text: string) => (this.#said = (this.#said + text).slice(-4_000)));
  }

  /** What it has printed on standard error. */
  get said(): string {
    return this.#said;
  }

  /** At once, with what it has in hand. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await ended;
  }
}
