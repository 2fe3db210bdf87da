import { createHmac } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { inject, injectable } from 'inversify';
import type { Actor } from '../../../src/kernel/call.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { Installation } from '../../../src/kernel/module.ts';
import { ApiKeys } from '../access/api-keys.ts';
import { type Scope, scopesOfRole } from '../access/scopes.ts';
import { deriveKey, sameText } from '../access/secrets.ts';
import { type Session, Sessions } from '../access/sessions.ts';
import { Users } from '../access/users.ts';
import { workspaceNotFound } from '../access/workspaces.ts';
import { Cookies, readCookie } from './cookies.ts';
import { originOf } from './origin.ts';

/** Who makes a request, in which workspace, and what they may do there. */
export interface Principal {
  readonly actor: Actor & { readonly kind: 'user' | 'api_key' };
  /** Null for a user who belongs to none. */
  readonly workspace: string | null;
  readonly scopes: ReadonlySet<Scope>;
  /** Null for an API key. */
  readonly session: Session | null;
  /** What lists must show at least, wherever they are read: the position of the last change by this session or key. */
  readonly lastWrite: string | null;
}

/** Which of the user's workspaces a request is about; without it, the first one joined. */
export const WORKSPACE_HEADER = 'multilith-workspace';
export const CSRF_HEADER = 'x-csrf-token';
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Finds out who makes a request, from an API key or the session cookie. */
@injectable()
export class Principals {
  readonly #apiKeys: ApiKeys;
  readonly #sessions: Sessions;
  readonly #users: Users;
  readonly #publicUrl: string;
  readonly #csrfKey: Buffer;
  readonly #cookies: Cookies;

  constructor(@inject(ApiKeys) apiKeys: ApiKeys, @inject(Sessions) sessions: Sessions, @inject(Users) users: Users, @inject(Installation) installation: Installation) {
    this.#apiKeys = apiKeys;
    this.#sessions = sessions;
    this.#users = users;
    this.#publicUrl = installation.publicUrl;
    this.#csrfKey = deriveKey(installation.secret, 'csrf');
    this.#cookies = new Cookies(installation.publicUrl);
  }

  /**
   * An Authorization header counts alone: a wrong key is refused even beside a good cookie. `workspace` is what the
   * request asks for. Null when the request carries neither.
   * Faults: `unauthenticated`/`key_invalid`, `not_found`/`workspace_not_found`.
   */
  async find(headers: IncomingHttpHeaders, workspace: string | undefined): Promise<Principal | null> {
    if (headers.authorization !== undefined) return this.#ofKey(headers.authorization, workspace);
    const secret = readCookie(headers.cookie, this.#cookies.sessionName);
    const session = secret === undefined ? null : await this.#sessions.find(secret);
    return session === null ? null : this.#ofSession(session, workspace);
  }

  async #ofKey(authorization: string, workspace: string | undefined): Promise<Principal> {
    const secret = /^Bearer ([\w-]{1,200})$/i.exec(authorization)?.[1];
    const holder = secret === undefined ? null : await this.#apiKeys.authenticate(secret);
    if (holder === null) throw new Fault('unauthenticated', 'This API key is not valid (any more). Send `Authorization: Bearer ml_…`.', { reason: 'key_invalid' });
    if (workspace !== undefined && workspace !== holder.workspace) throw workspaceNotFound();
    return { actor: { kind: 'api_key', id: holder.keyId }, workspace: holder.workspace, scopes: holder.scopes, session: null, lastWrite: holder.lastWrite };
  }

  async #ofSession(session: Session, workspace: string | undefined): Promise<Principal> {
    const membership = await this.#users.membership(session.userId, workspace);
    if (membership === undefined && workspace !== undefined) throw workspaceNotFound();
    return { actor: { kind: 'user', id: session.userId }, workspace: membership?.workspaceId ?? null, scopes: new Set(membership === undefined ? [] : scopesOfRole(membership.role)), session, lastWrite: session.lastWrite };
  }

  /** What a page of ours puts into its forms, and a program with a cookie into the header. */
  csrfToken(session: Session): string {
    return this.formToken(session.sessionId);
  }

  /** The same for a form that is shown before the login, tied to a random cookie. */
  formToken(secret: string): string {
    return createHmac('sha256', this.#csrfKey).update(secret).digest('base64url');
  }

  /** For what needs no login: a page of somebody else's must not log a visitor in. Fault `denied`/`cross_site`. */
  refuseOtherSites(headers: IncomingHttpHeaders): void {
    if (originOf(headers, this.#publicUrl) === 'other') throw new Fault('denied', `This must come from a page at ${this.#publicUrl}.`, { reason: 'cross_site' });
  }

  /**
   * Refuses what a page of somebody else's made the browser send. An API key needs none of this, since no browser adds
   * it by itself. Fault `denied`/`cross_site`.
   */
  requireOurPage(principal: Principal, method: string, headers: IncomingHttpHeaders): void {
    if (principal.session === null || SAFE.has(method)) return;
    const origin = originOf(headers, this.#publicUrl);
    const token = headers[CSRF_HEADER];
    if (origin === 'same') return;
    if (origin === 'unknown' && typeof token === 'string' && sameText(token, this.csrfToken(principal.session))) return;
    throw new Fault('denied', `With a session cookie, changes must come from a page at ${this.#publicUrl}, or carry the csrfToken of GET /api/v1/session in X-CSRF-Token.`, { reason: 'cross_site' });
  }
}
