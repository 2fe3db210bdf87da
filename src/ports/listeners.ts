import type { Log } from '../kernel/telemetry.ts';
import type { HintListener, Outgoing } from './bus.ts';

/** Who listens to which topics in this process. One that nobody listens to costs a look into a map. */
export class Listeners {
  readonly #log: Log;
  readonly #byTopic = new Map<string, Set<HintListener>>();

  constructor(log: Log) {
    this.#log = log;
  }

  get topics(): string[] {
    return [...this.#byTopic.keys()];
  }

  /** Answers what takes it back; twice does nothing. */
  add(topics: readonly string[], listener: HintListener): () => void {
    // Of its own for each call, so that one listener may be added twice and taken back once.
    const own: HintListener = { message: (...hint) => listener.message(...hint), gap: () => listener.gap() };
    for (const topic of topics) {
      const listeners = this.#byTopic.get(topic);
      if (listeners === undefined) this.#byTopic.set(topic, new Set([own]));
      else listeners.add(own);
    }
    return () => {
      for (const topic of topics) {
        const listeners = this.#byTopic.get(topic);
        if (listeners?.delete(own) && listeners.size === 0) this.#byTopic.delete(topic);
      }
    };
  }

  tell(messages: readonly Outgoing[]): void {
    if (this.#byTopic.size === 0) return;
    for (const { to, workspace, payload } of messages) if ('topic' in to) this.message(to.topic, workspace, payload);
  }

  message(topic: string, workspace: string | null, payload: string): void {
    for (const listener of this.#byTopic.get(topic) ?? []) this.#guard(topic, () => listener.message(topic, workspace, payload));
  }

  gap(): void {
    for (const listener of new Set([...this.#byTopic.values()].flatMap((listeners) => [...listeners]))) this.#guard(null, () => listener.gap());
  }

  /** The publisher is not to blame for who listens. */
  #guard(topic: string | null, call: () => void): void {
    try {
      call();
    } catch (thrown) {
      const { name, stack = '' } = thrown as Error;
      // Where, but not in its words: those of JSON.parse quote what it was given.
      this.#log.error({ topic, error: name, at: stack.split('\n').filter((line) => /^ +at /.test(line)) }, 'a listener to events threw');
    }
  }
}
