import type { EpochMs } from '../../../src/kernel/clock.ts';
import { statement, type StorageTransaction } from '../../../src/ports/storage.ts';
import type { Tables } from '../tables.ts';
import { hashOfSecret } from './secrets.ts';

export interface ThrottleLimits {
  /** Failures that cost nothing but the wait for the answer. */
  readonly free: number;
  /** The wait after the next one; doubles with each. */
  readonly firstWaitMs: number;
  readonly longestWaitMs: number;
  /** After this long without a failure all is forgotten. */
  readonly forgetMs: number;
}

type Tx = StorageTransaction<Tables>;
type Key = { kind: string; key: string };

const find = statement<Tables, Key>()((db, p) => db.selectFrom('login_failures').select(['count', 'last_at']).where('kind', '=', p('kind')).where('key', '=', p('key')));
const put = statement<Tables, Key & { count: number; now: number }>()((db, p) =>
  db
    .insertInto('login_failures')
    .values({ kind: p('kind'), key: p('key'), count: p('count'), last_at: p('now') })
    .onConflict((c) => c.columns(['kind', 'key']).doUpdateSet((eb) => ({ count: eb.ref('excluded.count'), last_at: eb.ref('excluded.last_at') }))),
);
const takeOne = statement<Tables, Key>()((db, p) => db.updateTable('login_failures').set((eb) => ({ count: eb('count', '-', 1) })).where('kind', '=', p('kind')).where('key', '=', p('key')).where('count', '>', 0));
const remove = statement<Tables, Key>()((db, p) => db.deleteFrom('login_failures').where('kind', '=', p('kind')).where('key', '=', p('key')));
const forget = statement<Tables, { kind: string; before: number; limit: number }>()((db, p) =>
  db.deleteFrom('login_failures').where((eb) =>
    eb(eb.refTuple('kind', 'key'), 'in', eb.selectFrom('login_failures').select(['kind', 'key']).where('kind', '=', p('kind')).where('last_at', '<=', p('before')).orderBy('last_at').limit(p('limit')).$asTuple('kind', 'key')),
  ),
);

/** More than one count adds, so that what is forgotten never piles up. */
const FORGOTTEN_AT_ONCE = 10;

/**
 * Counts failed logins by one key (an account or an address) and says how long to wait. The counts stand in the
 * database, under hashes: whoever guesses finds the same at every process of the portal, and after each start. There
 * are no more of them than passwords can be hashed within `forgetMs`.
 */
export class LoginThrottle {
  readonly #kind: string;
  readonly #limits: ThrottleLimits;

  /** `kind` tells the keys of several apart. */
  constructor(kind: string, limits: ThrottleLimits) {
    this.#kind = kind;
    this.#limits = limits;
  }

  /** How long the key must wait before the next try, ms; 0 when it may try now. */
  async waitMs(tx: Tx, key: string, now: EpochMs): Promise<number> {
    const { free, firstWaitMs, longestWaitMs, forgetMs } = this.#limits;
    const [failures] = await tx.run(find, this.#named(key));
    if (failures === undefined || now - failures.last_at >= forgetMs || failures.count <= free) return 0;
    const wait = Math.min(firstWaitMs * 2 ** Math.min(failures.count - free - 1, 30), longestWaitMs);
    return Math.max(failures.last_at + wait - now, 0);
  }

  /** Counted before the password is looked at, so that tries made at the same time count too. */
  async count(tx: Tx, key: string, now: EpochMs): Promise<void> {
    await tx.run(forget, { kind: this.#kind, before: now - this.#limits.forgetMs, limit: FORGOTTEN_AT_ONCE });
    const [failures] = await tx.run(find, this.#named(key));
    const before = failures === undefined || now - failures.last_at >= this.#limits.forgetMs ? 0 : failures.count;
    await tx.run(put, { ...this.#named(key), count: before + 1, now });
  }

  /** A try that turned out right. */
  async forgive(tx: Tx, key: string): Promise<void> {
    await tx.run(remove, this.#named(key));
  }

  /** Takes one count back, for a key that others share (an address). */
  async takeBack(tx: Tx, key: string): Promise<void> {
    await tx.run(takeOne, this.#named(key));
  }

  #named(key: string): Key {
    return { kind: this.#kind, key: hashOfSecret(key) };
  }
}

/** One home or machine: an IPv4 address, or the /64 of an IPv6 address, which is what one customer gets. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped) return mapped[1]!;
  if (!address.includes(':')) return address;
  const [head = '', tail = ''] = address.split('%')[0]!.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === '' ? [] : tail.split(':');
  const groups = address.includes('::') ? [...left, ...Array<string>(Math.max(8 - left.length - right.length, 0)).fill('0'), ...right] : left;
  return groups.slice(0, 4).map((group) => parseInt(group, 16).toString(16)).join(':');
}
