import { setImmediate as nextTurn } from 'node:timers/promises';
import { inject, injectable } from 'inversify';
import type { Call } from '../../../src/kernel/call.ts';
import { inSizes } from '../../../src/ports/sized.ts';
import { Store } from '../../../src/ports/storage.ts';
import type { Person } from '../contract.ts';
import type { PersonRow, Tables } from '../tables.ts';
import { peopleByIds, personById, toState } from './people-rows.ts';
import { toPerson } from './person-state.ts';

/** The persons whom others plan to write to, as they stand now. */
@injectable()
export class Recipients {
  readonly #store: Store<Tables>;

  constructor(@inject(Store) store: Store<Tables>) {
    this.#store = store;
  }

  /**
   * Of the call's workspace, in no particular order; unknown ids are left out, deleted and merged ones are `gone`. Who
   * was merged comes with whom she went up in.
   */
  async getRecipients({ personIds }: { readonly personIds: readonly string[] }, call: Call): Promise<{ people: Person[]; merged: Record<string, string> }> {
    const workspace = call.requireWorkspace();
    const asked = await this.#read(workspace, [...new Set(personIds)]);
    const merged = Object.fromEntries(asked.flatMap(({ id, merged_into: into }) => (into === null ? [] : [[id, into]])));
    const known = new Set(asked.map(({ id }) => id));
    const survivors = [...new Set(Object.values(merged))].filter((id) => !known.has(id));
    return { people: [...asked, ...(await this.#read(workspace, survivors))].map(present), merged };
  }

  async #read(workspace: string, ids: readonly string[]): Promise<PersonRow[]> {
    if (ids.length === 1) return this.#store.run(personById, { workspace, id: ids[0]! });
    const rows: PersonRow[] = [];
    for (const [{ statement }, some] of inSizes(peopleByIds, ids)) {
      if (rows.length > 0) await nextTurn();
      rows.push(...(await this.#store.run(statement, { workspace, ...some })));
    }
    return rows;
  }
}

function present(row: PersonRow): Person {
  return toPerson(toState(row));
}
