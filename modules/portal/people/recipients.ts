import { setImmediate as nextTurn } from 'node:timers/promises';
import { inject, injectable } from 'inversify';
import type { Call } from '../../../src/kernel/call.ts';
import { Store } from '../../../src/ports/storage.ts';
import type { Person } from '../contract.ts';
import type { PersonRow, Tables } from '../tables.ts';
import { personById, toState } from './people-rows.ts';
import { toPerson } from './person-state.ts';

/** Read in one go: at 32 KB of attributes each, what the event loop can bear. */
const ROWS_AT_ONCE = 50;

/** The persons whom others plan to write to, as they stand now. */
@injectable()
export class Recipients {
  readonly #store: Store<Tables>;

  constructor(@inject(Store) store: Store<Tables>) {
    this.#store = store;
  }

  /** Of the call's workspace, in no particular order; unknown ids are left out, deleted and merged ones are `gone`. */
  async getRecipients({ personIds }: { readonly personIds: readonly string[] }, call: Call): Promise<{ people: Person[] }> {
    const workspace = call.requireWorkspace();
    if (personIds.length === 1) return { people: (await this.#store.run(personById, { workspace, id: personIds[0]! })).map(present) };
    const ids = [...new Set(personIds)];
    const people: Person[] = [];
    for (let at = 0; at < ids.length; at += ROWS_AT_ONCE) {
      if (at > 0) await nextTurn();
      const rows = await this.#store.db.selectFrom('people').selectAll().where('workspace_id', '=', workspace).where('id', 'in', ids.slice(at, at + ROWS_AT_ONCE)).execute();
      people.push(...rows.map(present));
    }
    return { people };
  }
}

function present(row: PersonRow): Person {
  return toPerson(toState(row));
}
