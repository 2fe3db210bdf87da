import { inject, injectable } from 'inversify';
import { Fault } from '../../../src/kernel/fault.ts';
import { Installation } from '../../../src/kernel/module.ts';
import { Store } from '../../../src/ports/storage.ts';
import { notification } from '../../notification/contract.ts';
import type { Notification } from '../../notification/contract.ts';
import { ApiKeys } from '../access/api-keys.ts';
import { Scope } from '../access/scopes.ts';
import { Sessions } from '../access/sessions.ts';
import { Workspaces } from '../access/workspaces.ts';
import { Cookies } from '../http/cookies.ts';
import { People } from '../people/people.ts';
import { Segments } from '../segments/segments.ts';
import { pageOf } from '../http/routes/shapes.ts';
import { FOREIGN_HTML_HEADERS } from '../http/security-headers.ts';
import type { Tables } from '../tables.ts';
import { goTo, type PageAnswer, type PageRoute } from './page.ts';
import { homeView, keysView, mailView, outboxView, peopleView } from './views.ts';
import { type Visit, Visits } from './visits.ts';

const OUTBOX_PAGE = 50;
const PEOPLE_PAGE = 50;
const KEYS_SHOWN = 200;

/** What people see who are logged in. */
@injectable()
export class StaffPages {
  readonly routes: readonly PageRoute[];
  readonly #visits: Visits;
  readonly #sessions: Sessions;
  readonly #workspaces: Workspaces;
  readonly #apiKeys: ApiKeys;
  readonly #people: People;
  readonly #segments: Segments;
  readonly #store: Store<Tables>;
  readonly #notification: Notification;
  readonly #publicUrl: string;
  readonly #cookies: Cookies;

  constructor(
    @inject(Visits) visits: Visits,
    @inject(Sessions) sessions: Sessions,
    @inject(Workspaces) workspaces: Workspaces,
    @inject(ApiKeys) apiKeys: ApiKeys,
    @inject(People) people: People,
    @inject(Segments) segments: Segments,
    @inject(Store) store: Store<Tables>,
    @inject(notification.id) mailer: Notification,
    @inject(Installation) installation: Installation,
  ) {
    this.#visits = visits;
    this.#sessions = sessions;
    this.#workspaces = workspaces;
    this.#apiKeys = apiKeys;
    this.#people = people;
    this.#segments = segments;
    this.#store = store;
    this.#notification = mailer;
    this.#publicUrl = installation.publicUrl;
    this.#cookies = new Cookies(installation.publicUrl);
    this.routes = [
      { method: 'GET', path: '/', handle: visits.by(null, (visit) => this.#home(visit)) },
      { method: 'GET', path: '/people', handle: visits.by('read', (visit) => this.#showPeople(visit)) },
      { method: 'GET', path: '/outbox', handle: visits.by('read', (visit) => this.#outbox(visit)) },
      { method: 'GET', path: '/outbox/:deliveryId', handle: visits.by('read', (visit) => this.#mail(visit)) },
      { method: 'GET', path: '/outbox/:deliveryId/html', handle: visits.by('read', (visit) => this.#mailHtml(visit)) },
      { method: 'GET', path: '/outbox/:deliveryId/raw', handle: visits.by('read', (visit) => this.#mailRaw(visit)) },
      { method: 'GET', path: '/keys', handle: visits.by('admin', (visit) => this.#keys(visit, null)) },
      { method: 'POST', path: '/keys', handle: visits.by('admin', (visit) => this.#makeKey(visit)) },
      { method: 'POST', path: '/keys/:keyId/revoke', handle: visits.by('admin', (visit) => this.#revokeKey(visit)) },
      { method: 'POST', path: '/logout', handle: visits.by(null, (visit) => this.#logOut(visit)) },
    ];
  }

  async #home(visit: Visit): Promise<PageAnswer> {
    const workspaces = await this.#workspaces.ofUser(visit.principal.actor.id, { limit: 200 });
    return this.#visits.show(visit, 'Home', homeView(workspaces, visit.principal.workspace, this.#publicUrl));
  }

  async #showPeople(visit: Visit): Promise<PageAnswer> {
    const { request, principal } = visit;
    const call = request.call(principal);
    const segmentId = request.query.get('segment') ?? '';
    const chosen = segmentId === '' ? null : await this.#segments.get(segmentId, call);
    const found = await this.#people.list({ before: request.query.get('after') ?? undefined, limit: PEOPLE_PAGE + 1, seen: principal.lastWrite, segment: chosen?.segmentId }, call);
    const { items: people, next } = pageOf(found, PEOPLE_PAGE, (last) => this.#people.cursorOf(last, {}));
    return this.#visits.show(visit, 'People', peopleView({ people, segments: await this.#segments.list(call), chosen, next }, principal.workspace));
  }

  async #outbox(visit: Visit): Promise<PageAnswer> {
    const { request, principal } = visit;
    const after = request.query.get('after');
    const { items, next } = await this.#notification.listOutbox({ limit: OUTBOX_PAGE, ...(after === null ? {} : { after }) }, request.call(principal));
    return this.#visits.show(visit, 'Outbox', outboxView(items, principal.workspace, next));
  }

  async #mail(visit: Visit): Promise<PageAnswer> {
    const mail = await this.#read(visit);
    return this.#visits.show(visit, 'Mail', mailView(mail, visit.principal.workspace));
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
    const { request, principal } = visit;
    return this.#notification.readOutbox({ deliveryId: request.params.deliveryId! }, request.call(principal));
  }

  async #keys(visit: Visit, made: string | null): Promise<PageAnswer> {
    const { workspace } = visit.principal;
    const keys = await this.#apiKeys.list(workspace, { limit: KEYS_SHOWN });
    return this.#visits.show(visit, 'API keys', keysView(keys, this.#visits.token(visit), workspace, made));
  }

  async #makeKey(visit: Visit): Promise<PageAnswer> {
    const form = await this.#visits.form(visit);
    const name = (form.get('name') ?? '').trim().slice(0, 200);
    const scopes = Scope.options.filter((scope) => form.has(`scope-${scope}`));
    if (name === '' || scopes.length === 0) throw new Fault('invalid', 'A key needs a name and at least one scope. Go back and give both.');
    const { workspace, actor } = visit.principal;
    let made = '';
    await this.#visits.change(visit, 'createApiKey', null, async () => {
      const { key, secret } = await this.#store.transaction((tx) => this.#apiKeys.create(tx, { workspace, name, scopes, createdBy: actor.id }));
      made = secret;
      return key.keyId;
    });
    return this.#keys(visit, made);
  }

  async #revokeKey(visit: Visit): Promise<PageAnswer> {
    await this.#visits.form(visit);
    const keyId = visit.request.params.keyId!;
    const { workspace } = visit.principal;
    await this.#visits.change(visit, 'revokeApiKey', keyId, async () => {
      await this.#apiKeys.revoke(workspace, keyId);
      return keyId;
    });
    return goTo(`/keys?workspace=${encodeURIComponent(workspace)}`);
  }

  async #logOut(visit: Visit): Promise<PageAnswer> {
    await this.#visits.form(visit);
    await this.#visits.change(visit, 'logOut', null, async () => {
      await this.#sessions.end(visit.principal.session.sessionId);
      return null;
    });
    return goTo('/login', [this.#cookies.sessionEnded()]);
  }
}
