import { inject, injectable } from 'inversify';
import { toFault } from '../../../src/kernel/fault.ts';
import { Log } from '../../../src/kernel/telemetry.ts';
import { Audit } from '../audit/audit.ts';
import type { Session } from './sessions.ts';
import { type User, Users } from './users.ts';

/** Where a login comes from. */
export interface LoginOrigin {
  readonly address: string;
  readonly callId: string;
}

/** Logging in, with every try that came to the password written into the audit log. */
@injectable()
export class Logins {
  readonly #users: Users;
  readonly #audit: Audit;
  readonly #log: Log;

  constructor(@inject(Users) users: Users, @inject(Audit) audit: Audit, @inject(Log) log: Log) {
    this.#users = users;
    this.#audit = audit;
    this.#log = log;
  }

  /** Faults as of `Users.logIn`. */
  async logIn(email: string, password: string, origin: LoginOrigin): Promise<{ user: User; session: Session; secret: string }> {
    try {
      const done = await this.#users.logIn(email, password, origin.address);
      await this.#note(done.user.userId, 'done', origin);
      return done;
    } catch (thrown) {
      const { reason } = toFault(thrown);
      // A throttled try is not written down: a flood must not fill the log. The answer does not wait for the note, or
      // it would take longer for a user who exists.
      if (reason === 'wrong_login') this.#noteRefused(email, origin).catch((err: unknown) => this.#log.warn({ err, callId: origin.callId }, 'A refused login could not be noted.'));
      throw thrown;
    }
  }

  async #noteRefused(email: string, origin: LoginOrigin): Promise<void> {
    const userId = await this.#users.idOf(email);
    if (userId !== null) await this.#note(userId, 'refused:wrong_login', origin);
    else this.#log.info({ callId: origin.callId }, 'A login was refused: there is no such user.');
  }

  async #note(userId: string, outcome: 'done' | 'refused:wrong_login', { address, callId }: LoginOrigin): Promise<void> {
    const first = await this.#users.membership(userId);
    const actor = outcome === 'done' ? ({ kind: 'user', id: userId } as const) : ({ kind: 'anonymous', id: 'anonymous' } as const);
    await this.#audit.record({ workspace: first?.workspaceId ?? null, actor, action: 'logIn', targetId: userId, address, callId }, outcome);
  }
}
