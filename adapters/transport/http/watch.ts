import type { Introduction } from '../../../src/ports/transport.ts';

/**
 * How the peer answered to being asked who it is. `heard`: not it, but its machine at least, so that connections of a
 * process that has ended would have been reset; one that stops listening first may still answer what is under way.
 * `isStopping`: it has said itself that it stops.
 */
export type Sighting = { readonly introduction: Introduction } | { readonly problem: string; readonly heard: boolean; readonly isStopping?: boolean };

export interface WatchEvents {
  /** It answers; also called when another process answers than before. */
  onFound(introduction: Introduction): void;
  /** It does not, or not as it should; or it is stopping and wants nothing new, which is `isInOrder`. */
  onLost(problem: string, isInOrder: boolean): void;
  /** Nothing that it has been sent will be answered: it is silent, or its machine is. */
  onGone(problem: string): void;
}

const TICK_MS = 500;
/** How often a peer is asked while all is well: every second tick. */
const TICKS_BETWEEN = 2;
/** A peer that was asked and has sent nothing at all, on no connection, for so many ticks is silent. */
const TICKS_OF_SILENCE = 6;
const GONE_AFTER_MS = TICK_MS * TICKS_OF_SILENCE;
const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 500;
/** One that stopped in order is looked for often for so many questions, some thirty seconds: it is most likely on its way back. */
const SOON_RETRIES = 400;

/**
 * Finds out whether a peer can be reached, over and over. It has two states: lost, in which it asks with growing pauses
 * until there is an answer, and found, in which it asks once a second. A question is given up when the peer has been
 * silent: not after a time by the clock, but after as many ticks, each of which gave what had come its turn to be read,
 * so that a pause of this process is not taken for one of the peer's.
 */
export class Watch {
  readonly #ask: () => { readonly answer: Promise<Sighting>; readonly giveUp: () => void };
  readonly #bytesReceived: () => number;
  readonly #events: WatchEvents;
  #running = false;
  #found: Introduction | undefined;
  #asking: { readonly giveUp: () => void } | undefined;
  #ticker: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #failures = 0;
  #leftInOrder = false;
  #lostSince: number | undefined;
  #ticks = 0;
  #silentTicks = 0;
  #received = 0;

  constructor(ask: () => { answer: Promise<Sighting>; giveUp: () => void }, bytesReceived: () => number, events: WatchEvents) {
    this.#ask = ask;
    this.#bytesReceived = bytesReceived;
    this.#events = events;
  }

  start(): void {
    this.#running = true;
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    this.#lostSince = performance.now();
    this.#look();
  }

  stop(): void {
    this.#running = false;
    clearInterval(this.#ticker);
    clearTimeout(this.#retry);
    this.#asking?.giveUp();
  }

  /** Something looks wrong: looks at once. */
  doubt(): void {
    if (this.#running && this.#found !== undefined) this.#look();
  }

  #tick(): void {
    this.#ticks++;
    const received = this.#bytesReceived();
    this.#silentTicks = this.#asking !== undefined && received === this.#received ? this.#silentTicks + 1 : 0;
    this.#received = received;
    if (this.#silentTicks >= TICKS_OF_SILENCE) this.#asking?.giveUp();
    else if (this.#found !== undefined && this.#ticks % TICKS_BETWEEN === 0) this.#look();
  }

  #look(): void {
    if (this.#asking !== undefined) return;
    this.#silentTicks = 0;
    this.#received = this.#bytesReceived();
    const asking = this.#ask();
    this.#asking = asking;
    void asking.answer.then((sighting) => {
      this.#asking = undefined;
      if (!this.#running) return;
      if ('introduction' in sighting) this.#see(sighting.introduction);
      else this.#miss(sighting);
    });
  }

  #see(introduction: Introduction): void {
    this.#failures = 0;
    this.#lostSince = undefined;
    const before = this.#found;
    this.#found = introduction;
    if (before?.process !== introduction.process) this.#events.onFound(introduction);
  }

  #miss({ problem, heard, isStopping = false }: Exclude<Sighting, { introduction: Introduction }>): void {
    const silent = this.#silentTicks >= TICKS_OF_SILENCE;
    if (this.#found !== undefined) this.#leftInOrder = isStopping;
    this.#found = undefined;
    this.#lostSince ??= performance.now();
    this.#events.onLost(problem, isStopping);
    if (silent || (!heard && performance.now() - this.#lostSince >= GONE_AFTER_MS)) this.#events.onGone(problem);
    const doublings = this.#leftInOrder && this.#failures < SOON_RETRIES ? Math.min(this.#failures, 1) : this.#failures;
    this.#failures++;
    const pauseMs = Math.min(FIRST_RETRY_MS * 2 ** doublings, LONGEST_RETRY_MS);
    this.#retry = setTimeout(() => this.#look(), pauseMs * (0.5 + Math.random()));
  }
}
