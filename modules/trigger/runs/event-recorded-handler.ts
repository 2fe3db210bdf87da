import { inject, injectable } from 'inversify';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Received } from '../../../src/kernel/message.ts';
import type { TransactionalHandler } from '../../../src/kernel/module.ts';
import type { Transaction } from '../../../src/ports/storage.ts';
import { seePerson } from '../people/people.ts';
import { RuleIndex } from '../rules/rule-index.ts';
import type { TriggerTables } from '../tables.ts';
import { Tally } from './counts.ts';
import { Entering, type EventRecorded } from './entering.ts';

/**
 * Lets the person of an event into every automation that the event fits. An event that fits none, of a person who is
 * known as she is, writes nothing; the person is looked at in any case, since portal tells of her by the event alone.
 */
@injectable()
export class EventRecordedHandler implements TransactionalHandler<EventRecorded, Transaction<TriggerTables>> {
  readonly #rules: RuleIndex;
  readonly #entering: Entering;

  constructor(@inject(RuleIndex) rules: RuleIndex, @inject(Entering) entering: Entering) {
    this.#rules = rules;
    this.#entering = entering;
  }

  handle(received: Received<EventRecorded>, tx: Transaction<TriggerTables>): Promise<void> {
    return this.handleMany([received], tx);
  }

  /** Those of one person one after the other; what concerns different persons is on its way to the database together. */
  async handleMany(all: readonly Received<EventRecorded>[], tx: Transaction<TriggerTables>): Promise<void> {
    const counts = new Tally();
    const ofOnePerson = Map.groupBy(all, ({ workspace, payload }) => `${workspace} ${payload.person.personId}`);
    await Promise.all(
      [...ofOnePerson.values()].map(async (some) => {
        for (const received of some) await this.#take(received, tx, counts);
      }),
    );
    await counts.write(tx);
  }

  async #take({ workspace, payload: event, trace }: Received<EventRecorded>, tx: Transaction<TriggerTables>, counts: Tally): Promise<void> {
    if (workspace === null) throw new Fault('invalid', 'An event belongs to a workspace; the message names none.', { reason: 'workspace_required' });
    const [person, rules] = await Promise.all([seePerson(tx, workspace, event.person), this.#rules.of(workspace)]);
    for (const rule of rules.matching(event.name, event.properties, event.person)) await this.#entering.enter(tx, rule, { workspace, event, person, trace, counts });
  }
}
