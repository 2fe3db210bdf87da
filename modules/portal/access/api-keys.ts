import { inject, injectable } from 'inversify';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { idFrom, newId } from '../../../src/kernel/ids.ts';
import { Log } from '../../../src/kernel/telemetry.ts';
import { statement, Store, type Transaction } from '../../../src/ports/storage.ts';
import type { ApiKeyRow, Tables } from '../tables.ts';
import { Scope } from './scopes.ts';
import { hashOfSecret, newSecret } from './secrets.ts';

/** Whom a valid key speaks for. */
export interface KeyHolder {
  readonly workspace: string;
  readonly keyId: string;
  readonly scopes: ReadonlySet<Scope>;
  /** Position of its last change, for lists that must show it; null where there is none. */
  readonly lastWrite: string | null;
}

/** A key as it may be shown: without its secret. */
export interface ApiKey {
  readonly keyId: string;
  readonly name: string;
  /** The beginning of the secret, to tell keys apart by. */
  readonly prefix: string;
  readonly scopes: Scope[];
  readonly createdAt: EpochMs;
  readonly createdBy: string;
  /** Up to a minute old; null when never used. */
  readonly lastUsedAt: EpochMs | null;
  readonly revokedAt: EpochMs | null;
}

const SECRET_FORM = /^ml_[A-Za-z0-9_-]{43}$/;
const SHOWN_CHARACTERS = 10;
const MOST_CACHED = 1_000;
/** A key is looked up again after this, whoever else may have changed the database. */
const CACHED_MS = 5_000;
const USE_NOTED_EVERY_MS = 60_000;
const MOST_KEYS = 200;

const byHash = statement<Tables, { hash: string }>()((db, p) =>
  db.selectFrom('api_keys').select(['id', 'workspace_id', 'scopes_json', 'last_used_at', 'last_write']).where('secret_hash', '=', p('hash')).where('revoked_at', 'is', null),
);

interface Known {
  readonly holder: KeyHolder;
  readonly until: EpochMs;
  notedAt: EpochMs;
}

/** The keys that programs call with. A secret is shown once and kept as a hash. */
@injectable()
export class ApiKeys {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;
  readonly #log: Log;
  /** By hash; the least recently used goes first. Only keys that are valid, so that guessing cannot push them out. */
  readonly #known = new Map<string, Known>();
  readonly #asking = new Map<string, Promise<KeyHolder | null>>();
  /** Rises with each revocation: an answer that was read before one is not kept. */
  #revocations = 0;

  constructor(@inject(Store) store: Store<Tables>, @inject(Clock) clock: Clock, @inject(Log) log: Log) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Whom the secret speaks for; null when it is malformed, unknown or revoked. Made for hot paths: cached, but where
   * other processes may revoke keys each use reads the key.
   */
  async authenticate(secret: string): Promise<KeyHolder | null> {
    if (!SECRET_FORM.test(secret)) return null;
    const hash = hashOfSecret(secret);
    if (this.#store.capabilities.shared) return this.#ask(hash);
    const known = this.#known.get(hash);
    const now = this.#clock.now();
    if (known !== undefined && now < known.until) {
      this.#known.delete(hash);
      this.#known.set(hash, known);
      this.#noteUse(known, now);
      return known.holder;
    }
    return this.#askOnce(hash);
  }

  /**
   * Makes a key inside the caller's transaction and answers its secret, the only time that anybody sees it.
   * With `repeatKey` a second try of the same request is a fault `conflict` instead of a second key.
   */
  async create(tx: Transaction<Tables>, wanted: { workspace: string; name: string; scopes: readonly Scope[]; createdBy: string; repeatKey?: string | undefined }): Promise<{ key: ApiKey; secret: string }> {
    const { count } = await tx.db
      .selectFrom('api_keys')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .where('workspace_id', '=', wanted.workspace)
      .where('revoked_at', 'is', null)
      .executeTakeFirstOrThrow();
    if (count >= MOST_KEYS) throw new Fault('conflict', `A workspace has at most ${MOST_KEYS} keys. Revoke one that is not used any more.`, { reason: 'too_many_keys' });
    const secret = `ml_${newSecret()}`;
    const row: ApiKeyRow = {
      id: wanted.repeatKey === undefined ? newId() : idFrom('api-key', wanted.workspace, wanted.repeatKey),
      workspace_id: wanted.workspace,
      name: wanted.name,
      prefix: secret.slice(0, SHOWN_CHARACTERS),
      secret_hash: hashOfSecret(secret),
      scopes_json: JSON.stringify([...new Set(wanted.scopes)].sort()),
      created_at: this.#clock.now(),
      created_by: wanted.createdBy,
      last_used_at: null,
      revoked_at: null,
      last_write: null,
    };
    await tx.db.insertInto('api_keys').values(row).execute();
    return { key: toApiKey(row), secret };
  }

  /** Newest first. */
  async list(workspace: string, page: { before?: string | undefined; limit: number }): Promise<ApiKey[]> {
    let query = this.#store.db.selectFrom('api_keys').selectAll().where('workspace_id', '=', workspace).orderBy('id', 'desc').limit(page.limit);
    if (page.before !== undefined) query = query.where('id', '<', page.before);
    return (await query.execute()).map(toApiKey);
  }

  async get(workspace: string, keyId: string): Promise<ApiKey> {
    const row = await this.#store.db.selectFrom('api_keys').selectAll().where('workspace_id', '=', workspace).where('id', '=', keyId).executeTakeFirst();
    if (row === undefined) throw keyNotFound();
    return toApiKey(row);
  }

  /** Whether the key has not been revoked. */
  async isValid(workspace: string, keyId: string): Promise<boolean> {
    const row = await this.#store.db.selectFrom('api_keys').select('id').where('workspace_id', '=', workspace).where('id', '=', keyId).where('revoked_at', 'is', null).executeTakeFirst();
    return row !== undefined;
  }

  /** The key is worth nothing from when this answers. Revoking twice changes nothing. */
  async revoke(workspace: string, keyId: string): Promise<ApiKey> {
    const row = await this.#store.transaction(async (tx) => {
      await tx.db.updateTable('api_keys').set({ revoked_at: this.#clock.now() }).where('workspace_id', '=', workspace).where('id', '=', keyId).where('revoked_at', 'is', null).execute();
      return tx.db.selectFrom('api_keys').selectAll().where('workspace_id', '=', workspace).where('id', '=', keyId).executeTakeFirst();
    });
    if (row === undefined) throw keyNotFound();
    this.#revocations++;
    this.#known.delete(row.secret_hash);
    this.#asking.delete(row.secret_hash);
    return toApiKey(row);
  }

  #askOnce(hash: string): Promise<KeyHolder | null> {
    const asking = this.#asking.get(hash);
    if (asking !== undefined) return asking;
    const asked = this.#ask(hash).finally(() => {
      if (this.#asking.get(hash) === asked) this.#asking.delete(hash);
    });
    this.#asking.set(hash, asked);
    return asked;
  }

  async #ask(hash: string): Promise<KeyHolder | null> {
    const before = this.#revocations;
    const [row] = await this.#store.run(byHash, { hash });
    if (row === undefined) {
      this.#known.delete(hash);
      return null;
    }
    const holder: KeyHolder = { workspace: row.workspace_id, keyId: row.id, scopes: new Set(parseScopes(row.scopes_json)), lastWrite: row.last_write };
    const now = this.#clock.now();
    const known = { holder, until: now + CACHED_MS, notedAt: Math.max(row.last_used_at ?? 0, this.#known.get(hash)?.notedAt ?? 0) };
    if (before === this.#revocations) this.#keep(hash, known);
    this.#noteUse(known, now);
    return holder;
  }

  #keep(hash: string, known: Known): void {
    this.#known.delete(hash);
    this.#known.set(hash, known);
    if (this.#known.size > MOST_CACHED) this.#known.delete(this.#known.keys().next().value!);
  }

  /** Not waited for: when it is lost, the time of last use is a little older. */
  #noteUse(known: Known, now: EpochMs): void {
    if (now - known.notedAt < USE_NOTED_EVERY_MS) return;
    known.notedAt = now;
    const { keyId, workspace } = known.holder;
    this.#store
      .transaction((tx) => tx.db.updateTable('api_keys').set({ last_used_at: now }).where('workspace_id', '=', workspace).where('id', '=', keyId).execute())
      .catch((thrown: unknown) => this.#log.debug({ keyId, err: String(thrown) }, 'The last use of a key could not be noted.'));
  }
}

function toApiKey(row: ApiKeyRow): ApiKey {
  return {
    keyId: row.id,
    name: row.name,
    prefix: row.prefix,
    scopes: parseScopes(row.scopes_json),
    createdAt: row.created_at,
    createdBy: row.created_by,
    lastUsedAt: row.last_used_at,
    revokedAt: row.revoked_at,
  };
}

/** A scope of a newer build is left out rather than trusted. */
function parseScopes(json: string): Scope[] {
  return (JSON.parse(json) as unknown[]).flatMap((scope) => {
    const known = Scope.safeParse(scope);
    return known.success ? [known.data] : [];
  });
}

function keyNotFound(): Fault {
  return new Fault('not_found', 'There is no such API key in this workspace.', { reason: 'api_key_not_found' });
}
