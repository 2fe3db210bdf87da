import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { StartStop, type Lifecycle } from '../../kernel/lifecycle.ts';
import type { Log } from '../../kernel/telemetry.ts';
import { BootProblem } from '../host/boot-problem.ts';

/** A program of others that this machine runs for us. */
export interface ServerProgram {
  /** As people call it, e.g. `ActiveMQ`. */
  readonly name: string;
  /** The program and its arguments; anybody on the machine may read them. */
  readonly command: readonly string[];
  /** What goes to it beside our own environment: only its user may read that. */
  readonly env: Readonly<Record<string, string>>;
  /** What has to be done before its first start in our time; ends soon after the signal, and throws BootProblems. */
  readonly prepare?: (signal: AbortSignal) => Promise<void>;
  /** What has it stop in order. Default: SIGTERM. */
  readonly stopSignal?: NodeJS.Signals;
  /** Whether it serves; within some seconds. */
  answers(): Promise<boolean>;
}

export interface Patience {
  /** What a start may take. */
  readonly startMs: number;
  /** How long one that died rests, first and at most. */
  readonly restFirstMs: number;
  readonly restMostMs: number;
}

const PATIENCE: Patience = { startMs: 60_000, restFirstMs: 1_000, restMostMs: 60_000 };
const LOOK_MS = 100;
const LAST_WORDS = 4_000;

/**
 * One server in a process of its own. `start` resolves when it serves and rejects with a BootProblem that tells what it
 * said last. One that dies later is started again, after a rest that doubles until it has served. It ends when we do,
 * also where we are killed, and hears no Ctrl-C that is meant for us: `stop` ends it.
 */
export class LocalServer implements Lifecycle {
  readonly #program: ServerProgram;
  readonly #log: Log;
  readonly #patience: Patience;
  readonly #over = new AbortController();
  #child: ChildProcess | undefined;
  #keeping: Promise<void> | undefined;
  #said = '';
  readonly #life = new StartStop(
    () => this.#start(),
    (deadlineMs) => this.#stop(deadlineMs),
  );

  constructor(program: ServerProgram, log: Log, patience: Patience = PATIENCE) {
    this.#program = program;
    this.#log = log.child({ server: program.name });
    this.#patience = patience;
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  /** Whatever it still does at the deadline, it is killed then. */
  stop(deadlineMs: number): Promise<void> {
    this.#over.abort();
    return this.#life.stop(deadlineMs);
  }

  async #start(): Promise<void> {
    await this.#program.prepare?.(this.#over.signal);
    if (this.#over.signal.aborted) return;
    const child = this.#spawn();
    const end = performance.now() + this.#patience.startMs;
    while (!(await this.#serves(child))) {
      if (this.#over.signal.aborted) return;
      if (hasEnded(child)) throw this.#problem('ended before it served');
      if (performance.now() > end) {
        child.kill('SIGKILL');
        throw this.#problem(`did not serve within ${this.#patience.startMs / 1_000} s`);
      }
    }
    this.#keeping = this.#keep(child);
  }

  /** Until `stop`: whenever it has died, another one. */
  async #keep(first: ChildProcess): Promise<void> {
    const { signal } = this.#over;
    for (let child = first, restMs = this.#patience.restFirstMs; ; child = this.#spawn()) {
      while (!hasEnded(child) && child !== first && !(await this.#serves(child)) && !signal.aborted);
      if (child !== first && !hasEnded(child) && !signal.aborted) {
        this.#log.info({ pid: child.pid }, 'The server serves again');
        restMs = this.#patience.restFirstMs;
      }
      if (!hasEnded(child)) await once(child, 'exit');
      if (signal.aborted) return;
      this.#log.error({ code: child.exitCode, signal: child.signalCode, restMs, said: withoutTraces(this.#said) }, 'The server has died; it is started again');
      await pause(restMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      restMs = Math.min(restMs * 2, this.#patience.restMostMs);
    }
  }

  async #stop(deadlineMs: number): Promise<void> {
    const child = this.#child;
    if (child !== undefined && !hasEnded(child)) {
      const timer = setTimeout(() => child.kill('SIGKILL'), deadlineMs);
      const ended = once(child, 'exit');
      child.kill(this.#program.stopSignal ?? 'SIGTERM');
      await ended;
      clearTimeout(timer);
    }
    await this.#keeping;
  }

  #spawn(): ChildProcess {
    this.#said = '';
    const { command, env } = this.#program;
    // A group of its own, so that Ctrl-C in a terminal leaves it serving until we have stopped.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, ...env } });
    child.on('error', (error) => (this.#said += error.message));
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (this.#said = (this.#said + text).slice(-LAST_WORDS)));
    this.#child = child;
    return child;
  }

  /** Not at once, where it does not: one that is starting is asked again and again. */
  async #serves(child: ChildProcess): Promise<boolean> {
    if (!hasEnded(child) && (await this.#program.answers()) && !hasEnded(child)) {
      this.#said = '';
      return true;
    }
    await pause(LOOK_MS, undefined, { signal: this.#over.signal }).catch(() => {});
    return false;
  }

  #problem(what: string): BootProblem {
    const said = withoutTraces(this.#said);
    return new BootProblem(`${this.#program.name} ${what}.`, said === '' ? 'It said nothing.' : `It said last:\n${said}`);
  }
}

/** What a Java program has said but for the places in its own code. */
function withoutTraces(said: string): string {
  return said.replace(/^\s+(at |\.\.\. ).*\n?/gm, '').trim();
}

function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}
