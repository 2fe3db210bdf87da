import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { Logins } from '../../access/logins.ts';
import { Scope } from '../../access/scopes.ts';
import { Sessions } from '../../access/sessions.ts';
import { LEAST_PASSWORD, LONGEST_PASSWORD, Users } from '../../access/users.ts';
import { Principals } from '../principal.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { Empty } from './shapes.ts';

const Session = z.object({
  user: z.object({ userId: z.string(), email: z.string() }),
  workspaceId: z.string().nullable(),
  scopes: z.array(Scope),
  /** Whether the user tends the installation: its hosts, and the queues as a whole. */
  operator: z.boolean(),
  /** For the header X-CSRF-Token, where the program sends neither Sec-Fetch-Site nor Origin. */
  csrfToken: z.string(),
  createdAt: z.int(),
});

/** Logging in and out, and one's own password. */
@injectable()
export class SessionRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];

  constructor(@inject(Logins) logins: Logins, @inject(Users) users: Users, @inject(Sessions) sessions: Sessions, @inject(Principals) principals: Principals) {
    this.routes = [
      route({
        id: 'logIn',
        method: 'POST',
        path: '/session',
        tag: 'Session',
        summary: 'Log in: sets the session cookie. Refused the same way whether the user exists or not.',
        access: 'public',
        body: z.strictObject({ email: z.string().min(1).max(254), password: z.string().min(1).max(LONGEST_PASSWORD) }),
        answer: z.object({ user: Session.shape.user, csrfToken: z.string() }),
        faults: ['wrong_login', 'too_many_logins', 'cross_site'],
        timeoutMs: 30_000,
        handle: async ({ body, call, address }) => {
          const { user, session, secret } = await logins.logIn(body.email, body.password, { address, callId: call.id });
          return { body: { user, csrfToken: principals.csrfToken(session) }, session: { secret } };
        },
      }),
      route({
        id: 'getSession',
        method: 'GET',
        path: '/session',
        tag: 'Session',
        summary: 'Who is logged in, and what they may do in this workspace.',
        access: 'session',
        answer: Session,
        handle: async ({ principal }) => {
          const session = principal!.session!;
          const user = await users.get(session.userId);
          return { body: { user, workspaceId: principal!.workspace, scopes: [...principal!.scopes], operator: await users.isOperator(session.userId), csrfToken: principals.csrfToken(session), createdAt: session.createdAt } };
        },
      }),
      route({
        id: 'logOut',
        method: 'DELETE',
        path: '/session',
        tag: 'Session',
        summary: 'End this session.',
        access: 'session',
        idempotent: false,
        answer: Empty,
        handle: async ({ principal }) => {
          await sessions.end(principal!.session!.sessionId);
          return { body: {}, session: 'ended' };
        },
      }),
      route({
        id: 'changePassword',
        method: 'PUT',
        path: '/session/password',
        tag: 'Session',
        summary: 'Change one\'s own password: ends every session of the user and begins a new one.',
        access: 'session',
        idempotent: false,
        body: z.strictObject({ current: z.string().min(1).max(LONGEST_PASSWORD), next: z.string().min(LEAST_PASSWORD).max(LONGEST_PASSWORD) }),
        answer: z.object({ csrfToken: z.string() }),
        faults: ['wrong_password', 'password_changed', 'too_many_logins'],
        timeoutMs: 30_000,
        handle: async ({ principal, body, address }) => {
          const { session, secret } = await users.changePassword(principal!.actor.id, body.current, body.next, address);
          return { body: { csrfToken: principals.csrfToken(session) }, session: { secret } };
        },
      }),
    ];
  }
}
