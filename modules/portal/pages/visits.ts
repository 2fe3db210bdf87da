import { inject, injectable } from 'inversify';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Scope } from '../access/scopes.ts';
import { sameText } from '../access/secrets.ts';
import type { Session } from '../access/sessions.ts';
import { type Principal, Principals } from '../http/principal.ts';
import { Writes } from '../http/writes.ts';
import type { Html } from './html.ts';
import { type FrameUser, layout } from './layout.ts';
import { goTo, type PageAnswer, type PageRequest, type PageRoute } from './page.ts';
import { Visitors } from './visitors.ts';

/** Somebody who is logged in, in a workspace. */
export interface Visit {
  readonly principal: Principal & { readonly session: Session; readonly workspace: string };
  readonly frame: FrameUser;
  readonly request: PageRequest;
}

const NO_ANSWER = { status: 303, headers: {}, body: '' };

/** What every page for people who are logged in needs: knowing who looks, forms that are ours, changes that are written down. */
@injectable()
export class Visits {
  readonly #principals: Principals;
  readonly #visitors: Visitors;
  readonly #writes: Writes;

  constructor(@inject(Principals) principals: Principals, @inject(Visitors) visitors: Visitors, @inject(Writes) writes: Writes) {
    this.#principals = principals;
    this.#visitors = visitors;
    this.#writes = writes;
  }

  /** Sends who is not logged in to the login, and refuses who lacks the scope (null: none is needed). */
  by(scope: Scope | null, page: (visit: Visit) => Promise<PageAnswer>): PageRoute['handle'] {
    return async (request) => {
      const visitor = await this.#visitors.find(request.headers.cookie, request.query.get('workspace') ?? undefined);
      if (visitor === null) return goTo(loginFor(request));
      const { principal, frame } = visitor;
      request.identify(principal);
      if (principal.workspace === null) throw new Fault('denied', 'You belong to no workspace.', { reason: 'workspace_required' });
      if (scope !== null && !principal.scopes.has(scope)) throw new Fault('denied', `This needs the scope ${scope}.`, { reason: 'scope_missing' });
      return page({ principal: principal as Visit['principal'], frame, request });
    };
  }

  show({ frame }: Visit, title: string, main: Html): PageAnswer {
    return { body: layout({ title, user: frame }, main) };
  }

  /** What the forms of a page carry. */
  token({ principal }: Visit): string {
    return this.#principals.csrfToken(principal.session);
  }

  /** A form of ours, shown to this very session. Fault `denied`/`cross_site`. */
  async form(visit: Visit): Promise<ReadonlyMap<string, string>> {
    const form = await visit.request.form();
    this.requireOwn(visit, form);
    return form;
  }

  /** Fault `denied`/`cross_site` for a form that is not. */
  requireOwn(visit: Visit, form: ReadonlyMap<string, string>): void {
    this.#principals.refuseOtherSites(visit.request.headers);
    if (!sameText(form.get('csrf') ?? '', this.token(visit))) throw new Fault('denied', 'The form was too old. Go back, reload the page and try again.', { reason: 'cross_site' });
  }

  /** Does what changes something, with its entry in the audit log. `work` answers what it was done to. */
  async change({ principal, request }: Visit, action: string, targetId: string | null, work: () => Promise<string | null>): Promise<void> {
    const audited = { workspace: principal.workspace, actor: principal.actor, action, targetId, address: request.address, callId: request.callId };
    await this.#writes.run({ by: principal, audited, key: undefined }, async () => ({ answer: NO_ANSWER, targetId: await work() }), () => NO_ANSWER);
  }
}

/** A form that came too late is not sent again by itself; a page is shown once its reader is known. */
function loginFor({ url, method }: PageRequest): `/${string}` {
  return method === 'GET' && url !== '/' ? `/login?next=${encodeURIComponent(url)}` : '/login';
}
