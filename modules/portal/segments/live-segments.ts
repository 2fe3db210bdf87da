import { injectable } from 'inversify';
import type { Condition } from '../../../src/kernel/conditions/condition.ts';
import { costOf } from '../../../src/kernel/conditions/cost.ts';
import { compileCondition, type Predicate } from '../../../src/kernel/conditions/predicate.ts';
import type { StorageTransaction } from '../../../src/ports/storage.ts';
import type { PersonState } from '../people/person-state.ts';
import type { Tables } from '../tables.ts';
import { segmentById, segmentsOf } from './segment-rows.ts';

/** A segment whose condition is ready to be asked. */
export interface LiveSegment {
  readonly segmentId: string;
  readonly cost: number;
  /** Whether the person belongs to it. Nobody who is gone does. */
  has(person: PersonState): boolean;
}

type Compiled = Pick<LiveSegment, 'cost'> & { readonly holds: Predicate };

/** Some 20 KB each at the most. */
const MOST_KEPT = 2_000;

/**
 * The segments of a workspace, with what was compiled kept by the condition's id, which another condition never has.
 * Which ones there are is read in each transaction: so none is missed, whichever process has made it.
 */
@injectable()
export class LiveSegments {
  readonly #compiled = new Map<string, Compiled>();

  async of(tx: StorageTransaction<Tables>, workspace: string): Promise<readonly LiveSegment[]> {
    const live: LiveSegment[] = [];
    for (const { id, condition_id: conditionId } of await tx.run(segmentsOf, { workspace })) {
      const { holds, cost } = this.#compiled.get(conditionId) ?? (await this.#compile(tx, workspace, id));
      live.push({ segmentId: id, cost, has: (person) => !person.gone && holds(recordOf(person), person) });
    }
    return live;
  }

  async #compile(tx: StorageTransaction<Tables>, workspace: string, segment: string): Promise<Compiled> {
    const [row] = await tx.run(segmentById, { workspace, segment });
    const condition = JSON.parse(row!.condition_json) as Condition;
    const compiled = { holds: compileCondition(condition), cost: costOf(condition) };
    this.#compiled.set(row!.condition_id, compiled);
    if (this.#compiled.size > MOST_KEPT) this.#compiled.delete(this.#compiled.keys().next().value!);
    return compiled;
  }
}

/** What conditions read as `record.…`. */
function recordOf({ userId, consent, createdAt }: PersonState): Record<string, string | number | null | { email: string }> {
  return { userId, consent: { email: consent.state }, createdAt };
}
