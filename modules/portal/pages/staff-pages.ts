import { inject, injectable } from 'inversify';
import { Fault } from '../../../src/kernel/fault.ts';
import { Installation } from '../../../src/kernel/module.ts';
import { Store } from '../../../src/ports/storage.ts';
import { notification } from '../../notification/contract.ts';
import type { Notification } from '../../notification/contract.ts';
import { ApiKeys } from '../access/api-keys.ts';
import { Scope } from '../access/scopes.ts';
import { sameText } from '../access/secrets.ts';
import { type Session, Sessions } from '../access/sessions.ts';
import { Workspaces } from '../access/workspaces.ts';
import { Cookies } from '../http/cookies.ts';
import { Exports, Format, What } from '../exports/exports.ts';
import { People } from '../people/people.ts';
import { Segments } from '../segments/segments.ts';
import { type Principal, Principals } from '../http/principal.ts';
import { pageOf } from '../http/routes/shapes.ts';
import { FOREIGN_HTML_HEADERS } from '../http/security-headers.ts';
import { UPLOAD_TIMEOUT_MS } from '../http/upload.ts';
import { type Write, Writes } from '../http/writes.ts';
import { Imports } from '../imports/imports.ts';
import { ImportFormat } from '../imports/people-file.ts';
import type { Tables } from '../tables.ts';
import type { Html } from './html.ts';
import { type FrameUser, layout } from './layout.ts';
import { goTo, type PageAnswer, type PageRequest, type PageRoute } from './page.ts';
import { exportsView, homeView, importsView, keysView, mailView, outboxView, peopleView } from './views.ts';
import { Visitors } from './visitors.ts';

/** Somebody who is logged in, in a workspace. */
interface Visit {
  readonly principal: Principal & { readonly session: Session; readonly workspace: string };
  readonly frame: FrameUser;
  readonly request: PageRequest;
}

const OUTBOX_PAGE = 50;
const PEOPLE_PAGE = 50;
const KEYS_SHOWN = 200;
const NO_ANSWER = { status: 303, headers: {}, body: '' };

/** What people see who are logged in. */
@injectable()
export class StaffPages {
  readonly routes: readonly PageRoute[];
  readonly #principals: Principals;
  readonly #visitors: Visitors;
  readonly #sessions: Sessions;
  readonly #workspaces: Workspaces;
  readonly #apiKeys: ApiKeys;
  readonly #writes: Writes;
  readonly #exports: Exports;
  readonly #imports: Imports;
  readonly #people: People;
  readonly #segments: Segments;
  readonly #store: Store<Tables>;
  readonly #notification: Notification;
  readonly #publicUrl: string;
  readonly #cookies: Cookies;

  constructor(
    @inject(Principals) principals: Principals,
    @inject(Visitors) visitors: Visitors,
    @inject(Sessions) sessions: Sessions,
    @inject(Workspaces) workspaces: Workspaces,
    @inject(ApiKeys) apiKeys: ApiKeys,
    @inject(Writes) writes: Writes,
    @inject(Exports) exports: Exports,
    @inject(Imports) imports: Imports,
    @inject(People) people: People,
    @inject(Segments) segments: Segments,
    @inject(Store) store: Store<Tables>,
    @inject(notification.id) mailer: Notification,
    @inject(Installation) installation: Installation,
  ) {
    this.#principals = principals;
    this.#visitors = visitors;
    this.#sessions = sessions;
    this.#workspaces = workspaces;
    this.#apiKeys = apiKeys;
    this.#writes = writes;
    this.#exports = exports;
    this.#imports = imports;
    this.#people = people;
    this.#segments = segments;
    this.#store = store;
    this.#notification = mailer;
    this.#publicUrl = installation.publicUrl;
    this.#cookies = new Cookies(installation.publicUrl);
    this.routes = [
      { method: 'GET', path: '/', handle: this.#visited((visit) => this.#home(visit)) },
      { method: 'GET', path: '/people', handle: this.#visited((visit) => this.#showPeople(visit)) },
      { method: 'GET', path: '/outbox', handle: this.#visited((visit) => this.#outbox(visit)) },
      { method: 'GET', path: '/outbox/:deliveryId', handle: this.#visited((visit) => this.#mail(visit)) },
      { method: 'GET', path: '/outbox/:deliveryId/html', handle: this.#visited((visit) => this.#mailHtml(visit)) },
      { method: 'GET', path: '/outbox/:deliveryId/raw', handle: this.#visited((visit) => this.#mailRaw(visit)) },
      { method: 'GET', path: '/exports', handle: this.#visited((visit) => this.#showExports(visit)) },
      { method: 'POST', path: '/exports', handle: this.#visited((visit) => this.#makeExport(visit)) },
      { method: 'GET', path: '/imports', handle: this.#visited((visit) => this.#showImports(visit)) },
      { method: 'POST', path: '/imports', timeoutMs: UPLOAD_TIMEOUT_MS, handle: this.#visited((visit) => this.#makeImport(visit)) },
      { method: 'POST', path: '/imports/:importId/delete', handle: this.#visited((visit) => this.#deleteImport(visit)) },
      { method: 'GET', path: '/keys', handle: this.#visited((visit) => this.#keys(visit, null)) },
      { method: 'POST', path: '/keys', handle: this.#visited((visit) => this.#makeKey(visit)) },
      { method: 'POST', path: '/keys/:keyId/revoke', handle: this.#visited((visit) => this.#revokeKey(visit)) },
      { method: 'POST', path: '/logout', handle: this.#visited((visit) => this.#logOut(visit)) },
    ];
  }

  /** Sends who is not logged in to the login. */
  #visited(page: (visit: Visit) => Promise<PageAnswer>): PageRoute['handle'] {
    return async (request) => {
      const visitor = await this.#visitors.find(request.headers.cookie, request.query.get('workspace') ?? undefined);
      if (visitor === null) return goTo(loginFor(request));
      const { principal, frame } = visitor;
      request.identify(principal);
      if (principal.workspace === null) throw new Fault('denied', 'You belong to no workspace.', { reason: 'workspace_required' });
      return page({ principal: principal as Visit['principal'], frame, request });
    };
  }

  async #home(visit: Visit): Promise<PageAnswer> {
    const workspaces = await this.#workspaces.ofUser(visit.principal.actor.id, { limit: 200 });
    return this.#page(visit, 'Home', homeView(workspaces, visit.principal.workspace, this.#publicUrl));
  }

  async #showPeople(visit: Visit): Promise<PageAnswer> {
    requireScope(visit, 'read');
    const { request, principal } = visit;
    const call = request.call(principal);
    const segmentId = request.query.get('segment') ?? '';
    const chosen = segmentId === '' ? null : await this.#segments.get(segmentId, call);
    const found = await this.#people.list({ before: request.query.get('after') ?? undefined, limit: PEOPLE_PAGE + 1, seen: principal.lastWrite, segment: chosen?.segmentId }, call);
    const { items: people, next } = pageOf(found, PEOPLE_PAGE, (last) => this.#people.cursorOf(last, {}));
    return this.#page(visit, 'People', peopleView({ people, segments: await this.#segments.list(call), chosen, next }, principal.workspace));
  }

  async #outbox(visit: Visit): Promise<PageAnswer> {
    requireScope(visit, 'read');
    const { request, principal } = visit;
    const after = request.query.get('after');
    const { items, next } = await this.#notification.listOutbox({ limit: OUTBOX_PAGE, ...(after === null ? {} : { after }) }, request.call(principal));
    return this.#page(visit, 'Outbox', outboxView(items, principal.workspace, next));
  }

  async #mail(visit: Visit): Promise<PageAnswer> {
    const mail = await this.#read(visit);
    return this.#page(visit, 'Mail', mailView(mail, visit.principal.workspace));
  }

  async #mailHtml(visit: Visit): Promise<PageAnswer> {
    const mail = await this.#read(visit);
    return { body: mail.html ?? '', headers: FOREIGN_HTML_HEADERS };
  }

  async #mailRaw(visit: Visit): Promise<PageAnswer> {
    const mail = await this.#read(visit);
    return { body: mail.raw, type: 'text/plain', headers: FOREIGN_HTML_HEADERS };
  }

  async #read(visit: Visit) {
    requireScope(visit, 'read');
    const { request, principal } = visit;
    return this.#notification.readOutbox({ deliveryId: request.params.deliveryId! }, request.call(principal));
  }

  async #showExports(visit: Visit): Promise<PageAnswer> {
    requireScope(visit, 'read');
    const { request, principal } = visit;
    const call = request.call(principal);
    const [found, segments] = [await this.#exports.list(call), await this.#segments.list(call)];
    return this.#page(visit, 'Exports', exportsView(found, segments, this.#principals.csrfToken(principal.session), principal.workspace));
  }

  async #makeExport(visit: Visit): Promise<PageAnswer> {
    requireScope(visit, 'read');
    const form = await this.#ownForm(visit);
    const [what, format] = [What.safeParse(form.get('what')), Format.safeParse(form.get('format'))];
    const segment = form.get('segment') || null;
    if (!what.success || !format.success) throw new Fault('invalid', 'Say what to export, and as what. Go back and choose both.');
    const { request, principal } = visit;
    await this.#writes.run(
      auditedOnly(visit, 'createExport', null),
      async () => {
        const { exportId } = await this.#exports.begin({ what: what.data, format: format.data, segment }, request.call(principal));
        return { answer: NO_ANSWER, targetId: exportId };
      },
      () => NO_ANSWER,
    );
    return goTo(`/exports?workspace=${encodeURIComponent(principal.workspace)}`);
  }

  async #showImports(visit: Visit): Promise<PageAnswer> {
    requireScope(visit, 'read');
    const { request, principal } = visit;
    const found = await this.#imports.list(request.call(principal));
    return this.#page(visit, 'Imports', importsView(found, this.#imports.maxBytes, this.#principals.csrfToken(principal.session), principal.workspace));
  }

  async #makeImport(visit: Visit): Promise<PageAnswer> {
    requireScope(visit, 'write');
    const { request, principal } = visit;
    const { fields, file } = await request.upload();
    this.#requireOwn(visit, fields);
    const format = ImportFormat.safeParse(fields.get('format'));
    if (!format.success) throw new Fault('invalid', 'Say what kind of file it is. Go back and choose.');
    const call = request.call(principal);
    const arrived = await this.#imports.receive(format.data, file, undefined, call);
    const begun = async () => {
      if (arrived.bytes === 0) throw new Fault('invalid', 'There was nothing in the file. Go back and choose one.', { reason: 'file_empty' });
      await this.#imports.begin(arrived, call);
      return { answer: NO_ANSWER, targetId: arrived.importId };
    };
    await this.#writes
      .run(auditedOnly(visit, 'createImport', null), begun, () => NO_ANSWER)
      .catch(async (thrown: unknown) => {
        await this.#imports.discard(arrived, call);
        throw thrown;
      });
    return goTo(`/imports?workspace=${encodeURIComponent(principal.workspace)}`);
  }

  async #deleteImport(visit: Visit): Promise<PageAnswer> {
    requireScope(visit, 'write');
    await this.#ownForm(visit);
    const { request, principal } = visit;
    const importId = request.params.importId!;
    await this.#writes.run(
      auditedOnly(visit, 'deleteImport', importId),
      async () => {
        await this.#imports.remove(importId, request.call(principal));
        return { answer: NO_ANSWER, targetId: importId };
      },
      () => NO_ANSWER,
    );
    return goTo(`/imports?workspace=${encodeURIComponent(principal.workspace)}`);
  }

  async #keys(visit: Visit, made: string | null): Promise<PageAnswer> {
    requireScope(visit, 'admin');
    const { workspace, session } = visit.principal;
    const keys = await this.#apiKeys.list(workspace, { limit: KEYS_SHOWN });
    return this.#page(visit, 'API keys', keysView(keys, this.#principals.csrfToken(session), workspace, made));
  }

  async #makeKey(visit: Visit): Promise<PageAnswer> {
    requireScope(visit, 'admin');
    const form = await this.#ownForm(visit);
    const name = (form.get('name') ?? '').trim().slice(0, 200);
    const scopes = Scope.options.filter((scope) => form.has(`scope-${scope}`));
    if (name === '' || scopes.length === 0) throw new Fault('invalid', 'A key needs a name and at least one scope. Go back and give both.');
    const { workspace, actor } = visit.principal;
    let made = '';
    await this.#writes.run(
      auditedOnly(visit, 'createApiKey', null),
      async () => {
        const { key, secret } = await this.#store.transaction((tx) => this.#apiKeys.create(tx, { workspace, name, scopes, createdBy: actor.id }));
        made = secret;
        return { answer: NO_ANSWER, targetId: key.keyId };
      },
      () => NO_ANSWER,
    );
    return this.#keys(visit, made);
  }

  async #revokeKey(visit: Visit): Promise<PageAnswer> {
    requireScope(visit, 'admin');
    await this.#ownForm(visit);
    const keyId = visit.request.params.keyId!;
    const { workspace } = visit.principal;
    await this.#writes.run(
      auditedOnly(visit, 'revokeApiKey', keyId),
      async () => {
        await this.#apiKeys.revoke(workspace, keyId);
        return { answer: NO_ANSWER, targetId: keyId };
      },
      () => NO_ANSWER,
    );
    return goTo(`/keys?workspace=${encodeURIComponent(workspace)}`);
  }

  async #logOut(visit: Visit): Promise<PageAnswer> {
    await this.#ownForm(visit);
    await this.#writes.run(
      auditedOnly(visit, 'logOut', null),
      async () => {
        await this.#sessions.end(visit.principal.session.sessionId);
        return { answer: NO_ANSWER, targetId: null };
      },
      () => NO_ANSWER,
    );
    return goTo('/login', [this.#cookies.sessionEnded()]);
  }

  async #ownForm(visit: Visit): Promise<ReadonlyMap<string, string>> {
    const form = await visit.request.form();
    this.#requireOwn(visit, form);
    return form;
  }

  /** Of a form of ours, shown to this very session. Fault `denied`/`cross_site`. */
  #requireOwn({ principal, request }: Visit, form: ReadonlyMap<string, string>): void {
    this.#principals.refuseOtherSites(request.headers);
    if (!sameText(form.get('csrf') ?? '', this.#principals.csrfToken(principal.session))) throw new Fault('denied', 'The form was too old. Go back, reload the page and try again.', { reason: 'cross_site' });
  }

  #page({ frame }: Visit, title: string, main: Html): PageAnswer {
    return { body: layout({ title, user: frame }, main) };
  }
}

/** A form that came too late is not sent again by itself; a page is shown once its reader is known. */
function loginFor({ url, method }: PageRequest): `/${string}` {
  return method === 'GET' && url !== '/' ? `/login?next=${encodeURIComponent(url)}` : '/login';
}

function requireScope({ principal }: Visit, scope: Scope): void {
  if (!principal.scopes.has(scope)) throw new Fault('denied', `This needs the scope ${scope}.`, { reason: 'scope_missing' });
}

function auditedOnly({ principal, request }: Visit, action: string, targetId: string | null): Write {
  return { by: principal, audited: { workspace: principal.workspace, actor: principal.actor, action, targetId, address: request.address, callId: request.callId }, key: undefined };
}
