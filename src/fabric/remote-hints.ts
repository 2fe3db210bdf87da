import { Fault, toFault } from '../kernel/fault.ts';
import { newId } from '../kernel/ids.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { HintListener } from '../ports/bus.ts';
import { Listeners } from '../ports/listeners.ts';
import type { BusCaller } from './bus-caller.ts';

const WATCH_MS = 25_000;
const FIRST_PAUSE_MS = 50;
const MOST_PAUSE_MS = 1_000;

/** Brings the hints that listeners of this process ask for from the host that keeps the messages. */
export class RemoteHints {
  readonly #caller: BusCaller;
  readonly #listeners: Listeners;
  #open = false;
  /** Of the question under way. */
  #asking: AbortController | undefined;
  #asked: readonly string[] = [];
  #changed = false;
  #loop: Promise<void> | undefined;

  constructor(caller: BusCaller, log: Log) {
    this.#caller = caller;
    this.#listeners = new Listeners(log);
  }

  watch(topics: readonly string[], listener: HintListener): () => void {
    const stop = this.#listeners.add(topics, listener);
    this.#change();
    return () => {
      stop();
      this.#change();
    };
  }

  start(): void {
    this.#open = true;
    this.#change();
  }

  async stop(): Promise<void> {
    this.#open = false;
    this.#change();
    await this.#loop;
  }

  /** All changes of one turn together. Topics that nobody listens to any more are asked for until others come. */
  #change(): void {
    if (this.#changed) return;
    this.#changed = true;
    queueMicrotask(() => {
      this.#changed = false;
      if (this.#wanted && this.#loop !== undefined && this.#covers()) return;
      this.#asking?.abort(new Fault('cancelled', 'Other topics are watched now.'));
      if (!this.#wanted) return;
      this.#loop ??= this.#ask().finally(() => {
        this.#loop = undefined;
        if (this.#wanted) this.#change();
      });
    });
  }

  async #ask(): Promise<void> {
    let watcher = this.#renew();
    let pauseMs = FIRST_PAUSE_MS;
    while (this.#wanted) {
      if (!this.#covers()) watcher = this.#renew();
      const asking = (this.#asking = new AbortController());
      try {
        const { gap, hints } = await this.#caller.stub.watch({ watcher, topics: [...this.#asked] }, this.#caller.once(WATCH_MS, asking.signal));
        pauseMs = FIRST_PAUSE_MS;
        this.#caller.reached();
        if (gap) this.#listeners.gap();
        for (const { topic, workspace, payload } of hints) this.#listeners.message(topic, workspace, payload);
      } catch (thrown) {
        // What an answer held that did not arrive is gone; whoever is new over there is told of a gap.
        watcher = this.#renew();
        if (asking.signal.aborted) continue;
        this.#caller.away(toFault(thrown));
        await this.#caller.pause(pauseMs, asking.signal);
        pauseMs = Math.min(2 * pauseMs, MOST_PAUSE_MS);
      }
    }
  }

  get #wanted(): boolean {
    return this.#open && this.#listeners.topics.length > 0;
  }

  #covers(): boolean {
    return this.#listeners.topics.every((topic) => this.#asked.includes(topic));
  }

  #renew(): string {
    this.#asked = this.#listeners.topics;
    return newId();
  }
}
