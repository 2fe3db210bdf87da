import { inject, injectable } from 'inversify';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Received } from '../../../src/kernel/message.ts';
import type { TransactionalHandler } from '../../../src/kernel/module.ts';
import type { Transaction } from '../../../src/ports/storage.ts';
import type { personChanged } from '../../portal/contract.ts';
import { Departures } from '../runs/departures.ts';
import { Merges } from '../runs/merges.ts';
import type { TriggerTables } from '../tables.ts';
import { currentId, savePerson } from './people.ts';
import type { z } from 'zod';

type PersonChanged = z.infer<(typeof personChanged)['schema']>;

/** Keeps trigger's copy of the persons; what waits follows a merge and ends with a deletion. */
@injectable()
export class PersonChangedHandler implements TransactionalHandler<PersonChanged, Transaction<TriggerTables>> {
  readonly #merges: Merges;
  readonly #departures: Departures;

  constructor(@inject(Merges) merges: Merges, @inject(Departures) departures: Departures) {
    this.#merges = merges;
    this.#departures = departures;
  }

  async handle({ workspace, payload: { person, mergedFrom } }: Received<PersonChanged>, tx: Transaction<TriggerTables>): Promise<void> {
    if (workspace === null) throw new Fault('invalid', 'A person belongs to a workspace; the message names none.', { reason: 'workspace_required' });
    const newer = await savePerson(tx, workspace, person);
    const personId = await currentId(tx, workspace, person.personId);
    for (const from of mergedFrom) {
      if (from !== personId) await this.#merges.merge(tx, workspace, from, personId);
    }
    if (person.gone && newer) await this.#departures.endAll(tx, workspace, person.personId);
  }
}
