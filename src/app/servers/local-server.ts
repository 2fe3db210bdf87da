import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { StartStop, type Lifecycle } from '../../kernel/lifecycle.ts';
import type { Log } from '../../kernel/telemetry.ts';
import { BootProblem } from '../host/boot-problem.ts';
import { LEAST_FREE_BYTES, shortOfRoom, untilRoom } from './disk-room.ts';

/** A program of others that this machine runs for us. */
export interface ServerProgram {
  /** As people call it, e.g. `ActiveMQ`. */
  readonly name: string;
  /** Where it keeps what it has; on a disk without room it is not started. */
  readonly directory: string;
  /** Whether one that answers nothing for long is killed and started again. Default: it is only told of. */
  readonly endsMute?: boolean;
  /** What it says, on either output, when it must not go on: it is killed then. */
  readonly endsSaying?: RegExp;
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
  /** How often it is asked whether it still serves. */
  readonly lookMs: number;
  /** As often as it may answer nothing, one time after the other: counted, since we may have stood still as well. */
  readonly muteLooks: number;
}

/** Mute for two minutes: longer than any collection of garbage in so small a heap, or a frozen disk that thaws. */
const PATIENCE: Patience = { startMs: 60_000, restFirstMs: 1_000, restMostMs: 60_000, lookMs: 10_000, muteLooks: 12 };
const LOOK_MS = 100;
const LAST_WORDS = 4_000;
const LEAST_FREE = `${LEAST_FREE_BYTES / 1024 / 1024} MB`;

/**
 * One server in a process of its own. `start` resolves when it serves and rejects with a BootProblem that tells what it
 * said last. One that dies later is started again, after a rest that doubles until it has served, and as soon as its disk
 * has room; one that lives and answers nothing is told of, and ended after a while where its program may be. It ends when
 * we do, also where we are killed, and hears no Ctrl-C that is meant for us: `stop` ends it.
 */
export class LocalServer implements Lifecycle {
  readonly #program: ServerProgram;
  readonly #log: Log;
  readonly #patience: Patience;
  readonly #over = new AbortController();
  #child: ChildProcess | undefined;
  #keeping: Promise<void> | undefined;
  #said = '';
  #trouble: { readonly since: number; readonly words: string } | undefined;
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

  /** Why it does not serve, since when, and what to do, for people and without addresses; undefined while it serves. */
  get problem(): string | undefined {
    if (this.#trouble === undefined) return undefined;
    const { since, words } = this.#trouble;
    return `${this.#program.name} of this machine has not served for ${Math.round((performance.now() - since) / 1_000)} s: ${words}`;
  }

  /** Whatever it still does at the deadline, it is killed then. */
  stop(deadlineMs: number): Promise<void> {
    this.#over.abort();
    return this.#life.stop(deadlineMs);
  }

  async #start(): Promise<void> {
    const { name, directory } = this.#program;
    const megabytes = await shortOfRoom(directory);
    if (megabytes !== undefined) throw new BootProblem(`${name} is not started: the disk with ${directory} has ${megabytes} MB free.`, `Make room on it: ${LEAST_FREE} at least.`);
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
        this.#trouble = undefined;
        restMs = this.#patience.restFirstMs;
      }
      await this.#watch(child);
      if (signal.aborted) return;
      this.#log.error({ code: child.exitCode, signal: child.signalCode, restMs, said: withoutTraces(this.#said) }, 'The server has died; it is started again');
      this.#inTrouble('it has ended, and is started again; the log of this host says what it said last.');
      await pause(restMs, undefined, { signal }).catch(() => {});
      await this.#untilRoom();
      if (signal.aborted) return;
      restMs = Math.min(restMs * 2, this.#patience.restMostMs);
    }
  }

  /** Resolves when it has ended, or is told to. */
  async #watch(child: ChildProcess): Promise<void> {
    const { lookMs, muteLooks } = this.#patience;
    const ended = new AbortController();
    child.once('exit', () => ended.abort());
    const over = AbortSignal.any([ended.signal, this.#over.signal]);
    for (let mute = 0; !hasEnded(child); ) {
      await pause(lookMs, undefined, { signal: over }).catch(() => {});
      if (over.aborted) break;
      mute = (await this.#program.answers()) ? 0 : mute + 1;
      if (over.aborted) break;
      this.#hear(child, mute, muteLooks);
    }
    if (!hasEnded(child)) await once(child, 'exit');
  }

  #hear(child: ChildProcess, mute: number, most: number): void {
    const { endsMute = false } = this.#program;
    if (mute === 0) {
      if (this.#trouble !== undefined) this.#log.info({ pid: child.pid }, 'The server answers again');
      this.#trouble = undefined;
      return;
    }
    if (mute === 1) this.#log.warn({ pid: child.pid }, 'The server runs, and does not answer');
    this.#inTrouble(`it runs, and does not answer. ${endsMute ? 'It is started again where it stays so for minutes.' : 'Look at its log, and start it again where it stays so.'}`);
    if (mute < most || !endsMute) return;
    this.#log.error({ pid: child.pid, looks: mute }, 'The server has not answered for long; it is ended');
    child.kill('SIGKILL');
  }

  async #untilRoom(): Promise<void> {
    let isTold = false;
    await untilRoom(this.#program.directory, this.#over.signal, (megabytes) => {
      this.#inTrouble(`it has ended, and its disk has ${megabytes} MB free. Make room there; it is started as soon as ${LEAST_FREE} are free.`);
      if (!isTold) this.#log.error({ directory: this.#program.directory, megabytes }, `The server is started again once ${LEAST_FREE} are free on its disk`);
      isTold = true;
    });
  }

  #inTrouble(words: string): void {
    this.#trouble = { since: this.#trouble?.since ?? performance.now(), words };
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
    const heard = (text: string): void => {
      this.#said = (this.#said + text).slice(-LAST_WORDS);
      if (this.#program.endsSaying?.test(this.#said)) child.kill('SIGKILL');
    };
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', heard);
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
