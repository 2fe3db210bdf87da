import { inject, injectable } from 'inversify';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Session } from '../access/sessions.ts';
import { Users } from '../access/users.ts';
import { Workspaces } from '../access/workspaces.ts';
import { type Principal, Principals } from '../http/principal.ts';
import type { FrameUser } from './layout.ts';

/** Somebody who is logged in. */
export interface Visitor {
  readonly principal: Principal & { readonly session: Session };
  readonly frame: FrameUser;
}

/** Finds out who looks at a page, and what its frame shows of them. */
@injectable()
export class Visitors {
  readonly #principals: Principals;
  readonly #users: Users;
  readonly #workspaces: Workspaces;

  constructor(@inject(Principals) principals: Principals, @inject(Users) users: Users, @inject(Workspaces) workspaces: Workspaces) {
    this.#principals = principals;
    this.#users = users;
    this.#workspaces = workspaces;
  }

  /** By the session cookie alone; null without one that is good. Fault `not_found`/`workspace_not_found`. */
  async find(cookie: string | undefined, workspace: string | undefined): Promise<Visitor | null> {
    const principal = await this.#principals.find({ cookie }, workspace);
    if (principal === null || principal.session === null) return null;
    const [{ email }, at] = await Promise.all([this.#users.get(principal.actor.id), principal.workspace === null ? null : this.#workspaces.get(principal.workspace)]);
    return { principal: principal as Visitor['principal'], frame: { email, csrfToken: this.#principals.csrfToken(principal.session), workspace: at } };
  }

  /** For pages that anybody may see: a workspace that is not the visitor's counts as none. */
  async findAnywhere(cookie: string | undefined, workspace: string | undefined): Promise<Visitor | null> {
    try {
      return await this.find(cookie, workspace);
    } catch (thrown) {
      if (!Fault.is(thrown) || thrown.code !== 'not_found') throw thrown;
      return this.find(cookie, undefined);
    }
  }
}
