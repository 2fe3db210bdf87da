import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { job, type Received } from '../../../src/kernel/message.ts';
import type { TransactionalHandler } from '../../../src/kernel/module.ts';
import { type Transaction } from '../../../src/ports/storage.ts';
import type { Tables } from '../tables.ts';
import { IdentityHashes } from './identity-hashes.ts';
import { type IdentityKind, noteErased } from './people-rows.ts';
import { MOST_MERGED } from './working-set.ts';

const ErasePerson = z.object({ personId: z.string(), erasedAt: z.int() });
/** What is left of a deleted person, in pieces, since nobody knows how much it is. Portal's own. */
export const erasePerson = job('portal.erase-person', ErasePerson);

/** Of each table, in one transaction. */
const ROWS_AT_ONCE = 500;

/** Erases a piece of what is left and asks for the next, until nothing is. */
@injectable()
export class ErasureHandler implements TransactionalHandler<z.infer<typeof ErasePerson>, Transaction<Tables>> {
  readonly #hashes: IdentityHashes;

  constructor(@inject(IdentityHashes) hashes: IdentityHashes) {
    this.#hashes = hashes;
  }

  async handle({ workspace: of, payload, trace }: Received<z.infer<typeof ErasePerson>>, tx: Transaction<Tables>): Promise<void> {
    const workspace = of!;
    const merged = await tx.db.selectFrom('people').select('id').where('workspace_id', '=', workspace).where('merged_into', '=', payload.personId).limit(MOST_MERGED).execute();
    let left = false;
    for (const id of [payload.personId, ...merged.map((row) => row.id)]) {
      left = (await this.#eraseNames(tx, workspace, id, payload.erasedAt)) || (await this.#eraseEvents(tx, workspace, id));
      if (left) break;
    }
    if (left) await tx.publish(erasePerson, payload, { workspace, trace });
  }

  /** True when there may be more. */
  async #eraseNames(tx: Transaction<Tables>, workspace: string, personId: string, erasedAt: number): Promise<boolean> {
    const names = await tx.db.selectFrom('identities').select(['kind', 'value']).where('workspace_id', '=', workspace).where('person_id', '=', personId).limit(ROWS_AT_ONCE).execute();
    for (const { kind, value } of names) {
      const hash = this.#hashes.of(workspace, kind as IdentityKind, value);
      await tx.run(noteErased, { workspace, hash, at: erasedAt });
      await tx.db.deleteFrom('identities').where('workspace_id', '=', workspace).where('kind', '=', kind).where('value', '=', value).execute();
    }
    return names.length === ROWS_AT_ONCE;
  }

  async #eraseEvents(tx: Transaction<Tables>, workspace: string, personId: string): Promise<boolean> {
    const some = tx.db.selectFrom('events').select('id').where('workspace_id', '=', workspace).where('person_id', '=', personId).limit(ROWS_AT_ONCE);
    const erased = await tx.db.deleteFrom('events').where('workspace_id', '=', workspace).where('id', 'in', some).returning('id').execute();
    return erased.length === ROWS_AT_ONCE;
  }
}
