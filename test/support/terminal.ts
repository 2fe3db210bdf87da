import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Writable } from 'node:stream';

const MAIN = join(import.meta.dirname, '../../src/main.js');

/** Runs its arguments on a terminal of its own; `columns rows` on the third descriptor is another size of the window. */
const ON_A_TERMINAL = `
import fcntl, os, pty, select, signal, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    os.read(0, 1)
    os.execvp(sys.argv[3], sys.argv[3:])
def size(columns, rows):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
size(int(sys.argv[1]), int(sys.argv[2]))
os.write(terminal, b'\\n')
watched = [terminal, 0, 3]
while True:
    readable, _, _ = select.select(watched, [], [])
    if terminal in readable:
        try:
            said = os.read(terminal, 65536)
        except OSError:
            break
        os.write(1, said)
    if 0 in readable:
        typed = os.read(0, 1024)
        os.write(terminal, typed) if typed else watched.remove(0)
    if 3 in readable:
        wanted = os.read(3, 64).split()
        size(int(wanted[0]), int(wanted[1])) if wanted else watched.remove(3)
os.waitpid(pid, 0)
`;

/** A command of the real program at a terminal, then what the terminal was left as: its exit code and `stty -a`. */
export class Terminal {
  readonly #process: ChildProcess;
  #output = '';

  constructor(args: readonly string[], { columns, rows, env = {} }: { readonly columns: number; readonly rows: number; readonly env?: NodeJS.ProcessEnv }) {
    const shell = ['sh', '-c', '"$@"; echo "exit code $?"; stty -a', 'sh', process.execPath, MAIN, ...args];
    this.#process = spawn('python3', ['-c', ON_A_TERMINAL, String(columns), String(rows), ...shell], { env: { PATH: process.env.PATH, HOME: process.env.HOME, TERM: 'xterm-256color', ...env }, stdio: ['pipe', 'pipe', 'inherit', 'pipe'], timeout: 60_000 });
    this.#process.stdout!.setEncoding('utf8').on('data', (text: string) => (this.#output += text));
  }

  /** All that it has been sent, escape sequences included. */
  get output(): string {
    return this.#output;
  }

  /** What the program has sent since the window was last drawn from its beginning. */
  get picture(): string {
    return this.#output.slice(this.#output.lastIndexOf('\x1b[H'));
  }

  async says(what: RegExp, deadlineMs = 20_000): Promise<void> {
    for (const end = Date.now() + deadlineMs; !what.test(this.#output); await new Promise((resolve) => setTimeout(resolve, 25))) {
      if (Date.now() > end) throw new Error(`not ${what} within ${deadlineMs} ms:\n${JSON.stringify(this.#output.slice(-3_000))}`);
    }
  }

  type(keys: string): void {
    this.#process.stdin!.write(keys);
  }

  resize(columns: number, rows: number): void {
    (this.#process.stdio[3] as Writable).write(`${columns} ${rows}`);
  }

  /** Resolves when all is over. */
  async ended(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) await once(this.#process, 'close');
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }
}
