import type { Clock } from '../../../src/kernel/clock.ts';
import { OptionalServer } from '../../../src/kernel/optional-server.ts';
import type { Log, Metrics } from '../../../src/kernel/telemetry.ts';
import type { SharedCache } from '../../../src/ports/cache.ts';
import { isRefusal, RedisConversation } from './conversation.ts';
import type { RedisSettings } from './driver.ts';

const LONGEST_TTL_MS = 10 * 365 * 24 * 3_600_000;

export class RedisCache implements SharedCache {
  readonly #settings: RedisSettings;
  readonly #server: OptionalServer<RedisConversation>;

  constructor(settings: RedisSettings, parts: { readonly clock: Clock; readonly log: Log; readonly metrics: Metrics }) {
    this.#settings = settings;
    const { host, port, timeoutMs, restMs, mostPending } = settings;
    this.#server = new OptionalServer({ kind: 'redis', address: `${host}:${port}`, timeoutMs, restMs, mostPending, isRefusal }, (lost) => new RedisConversation(settings, lost), parts);
  }

  start(): Promise<void> {
    return this.#server.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#server.stop(deadlineMs);
  }

  get reachable(): boolean {
    return this.#server.reachable;
  }

  get away(): string[] {
    return this.#server.reachable ? [] : [this.#server.address];
  }

  get(key: string): Promise<string | undefined> {
    return this.#server.ask((server) => server.get(this.#name(key)));
  }

  add(key: string, text: string, ttlMs: number): Promise<void> {
    return this.#store(text, ttlMs, (server, wholeMs) => server.add(this.#name(key), text, wholeMs));
  }

  set(key: string, text: string, ttlMs: number): Promise<void> {
    return this.#store(text, ttlMs, (server, wholeMs) => server.set(this.#name(key), text, wholeMs));
  }

  async #store(text: string, ttlMs: number, send: (server: RedisConversation, wholeMs: number) => Promise<void>): Promise<void> {
    if (!(ttlMs > 0) || Buffer.byteLength(text) > this.#settings.maxValueBytes) return;
    await this.#server.store((server) => send(server, Math.min(Math.ceil(ttlMs), LONGEST_TTL_MS)));
  }

  /** Any text is a key; one that is not Unicode would lose what tells it apart on its way to bytes, so its JSON text goes. */
  #name(key: string): string {
    return this.#settings.keyPrefix + (key.isWellFormed() ? `=${key}` : `~${JSON.stringify(key)}`);
  }
}
