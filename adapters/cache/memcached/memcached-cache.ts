import type { Clock } from '../../../src/kernel/clock.ts';
import { OptionalServer } from '../../../src/kernel/optional-server.ts';
import type { Log, Metrics } from '../../../src/kernel/telemetry.ts';
import type { SharedCache } from '../../../src/ports/cache.ts';
import { isRefusal, MemcachedConversation } from './conversation.ts';
import type { MemcachedSettings } from './driver.ts';
import { memcachedKey, serverOf } from './key.ts';

/** Beyond 30 days memcached takes an expiry for seconds since 1970. */
const LONGEST_RELATIVE_S = 30 * 24 * 3_600;
const LAST_EXPIRY_S = 2 ** 32 - 1;

export class MemcachedCache implements SharedCache {
  readonly #settings: MemcachedSettings;
  readonly #servers: readonly OptionalServer<MemcachedConversation>[];
  readonly #clock: Clock;

  constructor(settings: MemcachedSettings, parts: { readonly clock: Clock; readonly log: Log; readonly metrics: Metrics }) {
    this.#settings = settings;
    this.#clock = parts.clock;
    const { timeoutMs, restMs, mostPending } = settings;
    this.#servers = settings.servers.map((address) => {
      const { host, port } = parse(address);
      return new OptionalServer({ kind: 'memcached', address, timeoutMs, restMs, mostPending, isRefusal }, (lost) => new MemcachedConversation(host, port, lost), parts);
    });
  }

  async start(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.start()));
  }

  async stop(deadlineMs: number): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.stop(deadlineMs)));
  }

  /** False only when no server answers: a key of one that does is worth asking for. */
  get reachable(): boolean {
    return this.#servers.some((server) => server.reachable);
  }

  get away(): string[] {
    return this.#servers.flatMap(({ reachable, address }) => (reachable ? [] : [address]));
  }

  get(key: string): Promise<string | undefined> {
    const name = this.#name(key);
    return this.#serverOf(name).ask((server) => server.get(name));
  }

  add(key: string, text: string, ttlMs: number): Promise<void> {
    return this.#store(key, text, ttlMs, (server, name, expires) => server.add(name, text, expires));
  }

  set(key: string, text: string, ttlMs: number): Promise<void> {
    return this.#store(key, text, ttlMs, (server, name, expires) => server.set(name, text, expires));
  }

  async #store(key: string, text: string, ttlMs: number, send: (server: MemcachedConversation, name: string, expires: number) => Promise<void>): Promise<void> {
    if (!(ttlMs > 0) || Buffer.byteLength(text) > this.#settings.maxValueBytes) return;
    const name = this.#name(key);
    const expires = expiryOf(ttlMs, this.#clock.now());
    await this.#serverOf(name).store((server) => send(server, name, expires));
  }

  #name(key: string): string {
    return memcachedKey(this.#settings.keyPrefix, key);
  }

  #serverOf(name: string): OptionalServer<MemcachedConversation> {
    return this.#servers[serverOf(name, this.#servers.length)]!;
  }
}

function parse(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
}

/**
 * Whole seconds, and one more: memcached's clock ticks once a second, so that what expires "in 1" may live for a
 * millisecond, and a drop's mark must not end early. 0 would mean for ever.
 */
export function expiryOf(ttlMs: number, now: number): number {
  const seconds = Math.ceil(ttlMs / 1_000) + 1;
  return seconds <= LONGEST_RELATIVE_S ? seconds : Math.min(Math.ceil(now / 1_000) + seconds, LAST_EXPIRY_S);
}
