import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { Fault, toFault } from '../../../src/kernel/fault.ts';
import { Installation } from '../../../src/kernel/module.ts';
import { notification } from '../../notification/contract.ts';
import type { Notification } from '../../notification/contract.ts';
import { Logins } from '../access/logins.ts';
import { newSecret, sameText } from '../access/secrets.ts';
import { Setup } from '../access/setup.ts';
import { LEAST_PASSWORD, LONGEST_PASSWORD } from '../access/users.ts';
import { Audit } from '../audit/audit.ts';
import { Cookies, readCookie } from '../http/cookies.ts';
import { Principals } from '../http/principal.ts';
import { Routes } from '../http/routes/routes.ts';
import type { Html } from './html.ts';
import { layout, notice } from './layout.ts';
import { goTo, ownPath, type PageAnswer, type PageRequest, type PageRoute } from './page.ts';
import { ICON, STYLE } from './style.ts';
import { docsView, loginView, setupView, unsubscribeView } from './views.ts';
import { Visitors } from './visitors.ts';

const SetupForm = z.object({
  email: z.email('The e-mail address is not valid.').max(254, 'The e-mail address must have at most 254 characters.'),
  password: z.string().min(LEAST_PASSWORD, `The password must have at least ${LEAST_PASSWORD} characters.`).max(LONGEST_PASSWORD, `The password must have at most ${LONGEST_PASSWORD} characters.`),
  workspace: z.string().trim().min(1, 'The workspace needs a name.').max(200, 'The name of the workspace must have at most 200 characters.'),
});
const ASSET_HEADERS = { 'Cache-Control': 'public, max-age=3600' };

/** What anybody may open: set-up, login, the unsubscribe page, the API's description. */
@injectable()
export class PublicPages {
  readonly routes: readonly PageRoute[];
  readonly #setup: Setup;
  readonly #logins: Logins;
  readonly #principals: Principals;
  readonly #visitors: Visitors;
  readonly #audit: Audit;
  readonly #notification: Notification;
  readonly #cookies: Cookies;

  constructor(
    @inject(Setup) setup: Setup,
    @inject(Logins) logins: Logins,
    @inject(Principals) principals: Principals,
    @inject(Visitors) visitors: Visitors,
    @inject(Audit) audit: Audit,
    @inject(notification.id) mailer: Notification,
    @inject(Installation) installation: Installation,
    @inject(Routes) routes: Routes,
  ) {
    this.#setup = setup;
    this.#logins = logins;
    this.#principals = principals;
    this.#visitors = visitors;
    this.#audit = audit;
    this.#notification = mailer;
    this.#cookies = new Cookies(installation.publicUrl);
    const docs = docsView(routes.all, installation.publicUrl);
    this.routes = [
      { method: 'GET', path: '/assets/style.css', handle: async () => ({ body: STYLE, type: 'text/css', headers: ASSET_HEADERS }) },
      { method: 'GET', path: '/assets/icon.svg', handle: async () => ({ body: ICON, type: 'image/svg+xml', headers: ASSET_HEADERS }) },
      { method: 'GET', path: '/docs', handle: (request) => this.#showDocs(request, docs) },
      { method: 'GET', path: '/setup/:token', handle: (request) => this.#showSetup(request) },
      { method: 'POST', path: '/setup/:token', handle: (request) => this.#doSetup(request) },
      { method: 'GET', path: '/login', handle: (request) => this.#showLogin(request) },
      { method: 'POST', path: '/login', handle: (request) => this.#doLogin(request) },
      { method: 'GET', path: '/u/:token', handle: (request) => this.#showUnsubscribe(request) },
      { method: 'POST', path: '/u/:token', handle: (request) => this.#doUnsubscribe(request) },
    ];
  }

  async #showSetup({ params }: PageRequest): Promise<PageAnswer> {
    if (!(await this.#setup.isOpen(params.token!))) return linkInvalid();
    return { body: setupPage(null, { email: '', workspace: '' }) };
  }

  /** The link itself is what nobody else can know, so the form needs no other token. */
  async #doSetup(request: PageRequest): Promise<PageAnswer> {
    this.#principals.refuseOtherSites(request.headers);
    const form = await request.form();
    const given = { email: (form.get('email') ?? '').trim(), password: form.get('password') ?? '', workspace: form.get('workspace') ?? '' };
    const checked = SetupForm.safeParse(given);
    if (!checked.success) {
      if (!(await this.#setup.isOpen(request.params.token!))) return linkInvalid();
      return { status: 400, body: setupPage(checked.error.issues[0]!.message, given) };
    }
    try {
      const { address, callId } = request;
      const { workspace, session, secret } = await this.#setup.complete(request.params.token!, checked.data, address);
      await this.#audit.record({ workspace: workspace.workspaceId, actor: { kind: 'user', id: session.userId }, action: 'setUp', targetId: workspace.workspaceId, address, callId }, 'done');
      return goTo('/', [this.#cookies.session(secret)]);
    } catch (thrown) {
      if (Fault.is(thrown) && thrown.reason === 'setup_link_invalid') return linkInvalid();
      throw thrown;
    }
  }

  async #showDocs({ headers, query, identify }: PageRequest, docs: Html): Promise<PageAnswer> {
    const visitor = await this.#visitors.findAnywhere(headers.cookie, query.get('workspace') ?? undefined);
    if (visitor !== null) identify(visitor.principal);
    return { body: layout({ title: 'API', user: visitor?.frame }, docs) };
  }

  async #showLogin({ headers, query }: PageRequest): Promise<PageAnswer> {
    const next = ownPath(query.get('next'));
    if ((await this.#principals.find({ cookie: headers.cookie }, undefined)) !== null) return goTo(next);
    return this.#loginPage(headers.cookie, 200, null, { email: '', next });
  }

  /** The form's own cookie is made anew when the browser has none, and never becomes the session's. */
  #loginPage(cookie: string | undefined, status: number, problem: string | null, { email, next }: { email: string; next: string }): PageAnswer {
    const known = readCookie(cookie, this.#cookies.formName);
    const secret = known ?? newSecret();
    return {
      status,
      body: layout({ title: 'Log in' }, loginView(problem, this.#principals.formToken(`form ${secret}`), email, next)),
      cookies: known === undefined ? [this.#cookies.form(secret)] : [],
    };
  }

  async #doLogin(request: PageRequest): Promise<PageAnswer> {
    const { headers, address, callId } = request;
    this.#principals.refuseOtherSites(headers);
    const form = await request.form();
    const email = (form.get('email') ?? '').slice(0, 254);
    const next = ownPath(form.get('next'));
    const secret = readCookie(headers.cookie, this.#cookies.formName);
    if (secret === undefined || !sameText(form.get('csrf') ?? '', this.#principals.formToken(`form ${secret}`))) {
      return this.#loginPage(headers.cookie, 403, 'The form was too old. Please try again.', { email, next });
    }
    try {
      const done = await this.#logins.logIn(email, (form.get('password') ?? '').slice(0, LONGEST_PASSWORD + 1), { address, callId });
      return goTo(next, [this.#cookies.session(done.secret)]);
    } catch (thrown) {
      const fault = toFault(thrown);
      if (fault.code !== 'unauthenticated' && fault.code !== 'exhausted') throw thrown;
      return this.#loginPage(headers.cookie, fault.code === 'exhausted' ? 429 : 401, fault.message, { email, next });
    }
  }

  /** Changes nothing: mail programs and their scanners open links by themselves (RFC 8058, 3.1). */
  async #showUnsubscribe(request: PageRequest): Promise<PageAnswer> {
    try {
      await this.#notification.readUnsubscribeToken({ token: request.params.token! }, request.call(null));
      return { body: layout({ title: 'Unsubscribe' }, unsubscribeView()) };
    } catch (thrown) {
      return tokenInvalid(thrown);
    }
  }

  /** The button above, and RFC 8058's one click: no cookie, no form token, whatever the body. */
  async #doUnsubscribe(request: PageRequest): Promise<PageAnswer> {
    try {
      await this.#notification.unsubscribe({ token: request.params.token! }, request.call(null));
      return { body: notice('You are unsubscribed', 'You will get no more of these messages.') };
    } catch (thrown) {
      return tokenInvalid(thrown);
    }
  }
}

function setupPage(problem: string | null, given: { email: string; workspace: string }) {
  return layout({ title: 'Welcome' }, setupView(problem, given));
}

function linkInvalid(): PageAnswer {
  return { status: 404, body: notice('This link does not work (any more)', 'It works once and for 24 hours. While there is no owner, each start of the program prints a new one.') };
}

function tokenInvalid(thrown: unknown): PageAnswer {
  const { code } = toFault(thrown);
  if (code !== 'not_found' && code !== 'invalid') throw thrown;
  return { status: 404, body: notice('This link does not work', 'It may have been cut off. Open it again from the whole message.') };
}
