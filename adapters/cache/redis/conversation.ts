import { createRequire } from 'node:module';
import type { Redis } from 'ioredis';
import type { Conversation } from '../../../src/kernel/optional-server.ts';
import type { RedisSettings } from './driver.ts';

/** When the first connection is made: it takes 9 MB, which few installations have a use for. */
const load = createRequire(import.meta.url);

/**
 * One connection of ioredis with everything off that makes it wait: by default it queues what is asked while there is no
 * connection, connects again and repeats for ever, and waits for an answer without end.
 */
export class RedisConversation implements Conversation {
  readonly greeted: Promise<unknown>;
  readonly #redis: Redis;
  #asked = 0;

  constructor(settings: RedisSettings, lost: (why: unknown) => void) {
    const { host, port, username, password, database, tls, ca } = settings;
    const { Redis: Connection } = load('ioredis') as typeof import('ioredis');
    this.#redis = new Connection({
      host,
      port,
      db: database,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(tls ? { tls: ca === undefined ? {} : { ca } } : {}),
      protocol: 2,
      lazyConnect: true,
      enableOfflineQueue: false,
      enableReadyCheck: false,
      disableClientInfo: true,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null,
      autoResubscribe: false,
      autoResendUnfulfilledCommands: false,
    });
    this.#redis.on('error', lost);
    this.#redis.on('close', () => lost('the connection was closed'));
    this.greeted = this.#redis.connect().then(() => {
      // Nothing bounds what ioredis gathers of an answer that nobody has asked for.
      this.#redis.stream.on('data', () => {
        if (this.#asked === 0) lost('it speaks without being asked');
      });
      return this.#ask((redis) => redis.ping());
    });
  }

  get(key: string): Promise<string | undefined> {
    return this.#ask((redis) => redis.get(key)).then((value) => value ?? undefined);
  }

  set(key: string, value: string, ttlMs: number): Promise<void> {
    return this.#ask((redis) => redis.set(key, value, 'PX', ttlMs)).then(() => {});
  }

  add(key: string, value: string, ttlMs: number): Promise<void> {
    return this.#ask((redis) => redis.set(key, value, 'PX', ttlMs, 'NX')).then(() => {});
  }

  close(): void {
    // A polite end would wait for a frozen server's.
    this.#redis.stream?.destroy();
    this.#redis.disconnect();
  }

  #ask<T>(command: (redis: Redis) => Promise<T>): Promise<T> {
    this.#asked++;
    return command(this.#redis).finally(() => this.#asked--);
  }
}

/** Whether the server itself has said no, e.g. for want of memory, and is otherwise well. */
export function isRefusal(thrown: unknown): boolean {
  return thrown instanceof Error && thrown.name === 'ReplyError';
}
