import { inject, injectable } from 'inversify';
import type { z } from 'zod';
import { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { idFrom } from '../../../src/kernel/ids.ts';
import type { Received } from '../../../src/kernel/message.ts';
import type { TransactionalHandler } from '../../../src/kernel/module.ts';
import type { Transaction } from '../../../src/ports/storage.ts';
import type { personChanged } from '../../portal/contract.ts';
import type { NotificationTables } from '../tables.ts';
import { erasePerson } from './erasure.ts';

/** A mail that was on its way when the person was deleted writes down its outcome, with the address, within this. */
const ON_ITS_WAY_MS = 15 * 60_000;

/** When a person is deleted, has what is known of her here erased: at once, and once more for what was on its way. */
@injectable()
export class PersonChangedHandler implements TransactionalHandler<z.infer<(typeof personChanged)['schema']>, Transaction<NotificationTables>> {
  readonly #clock: Clock;

  constructor(@inject(Clock) clock: Clock) {
    this.#clock = clock;
  }

  async handle({ id, workspace, payload: { person, mergedFrom }, trace }: Received<z.infer<(typeof personChanged)['schema']>>, tx: Transaction<NotificationTables>): Promise<void> {
    if (workspace === null) throw new Fault('invalid', 'A person belongs to a workspace; the message names none.', { reason: 'workspace_required' });
    if (!person.gone) return;
    const payload = { personId: person.personId, left: [person.personId, ...mergedFrom], after: null };
    await tx.publish(erasePerson, payload, { workspace, trace });
    await tx.publish(erasePerson, payload, { workspace, trace, id: idFrom('notification.erase-later', id), notBefore: this.#clock.now() + ON_ITS_WAY_MS });
  }
}
