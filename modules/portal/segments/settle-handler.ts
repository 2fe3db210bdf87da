import { setImmediate as nextTurn } from 'node:timers/promises';
import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { job, type Received } from '../../../src/kernel/message.ts';
import type { TransactionalHandler } from '../../../src/kernel/module.ts';
import type { Transaction } from '../../../src/ports/storage.ts';
import { toState } from '../people/people-rows.ts';
import { ROWS_A_TURN } from '../pieces.ts';
import type { SegmentRow, Tables } from '../tables.ts';
import { LiveSegments } from './live-segments.ts';
import { Memberships } from './memberships.ts';
import { filledTo, membersBetween, peopleAfter, removeMember, segmentById, someMembers } from './segment-rows.ts';

const SettleSegment = z.object({ segmentId: z.string(), conditionId: z.string() });
/** Who belongs to a segment is to be found among everybody; to one that was deleted, nobody. Portal's own. */
export const settleSegment = job('portal.settle-segment', SettleSegment, { lane: 'bulk' });

/** In one transaction: those who wait behind it wait for few milliseconds. */
const PEOPLE_AT_ONCE = 250;
/** The same, where a condition takes long. */
const LONGEST_MS = 50;

/**
 * Looks at a piece of the workspace's people and asks for the next, until all have been looked at. Whoever changes
 * meanwhile is followed by her own transaction, whether this has come past her or not.
 */
@injectable()
export class SettleSegmentHandler implements TransactionalHandler<z.infer<typeof SettleSegment>, Transaction<Tables>> {
  readonly #segments: LiveSegments;

  constructor(@inject(LiveSegments) segments: LiveSegments) {
    this.#segments = segments;
  }

  async handle({ workspace: of, payload, trace }: Received<z.infer<typeof SettleSegment>>, tx: Transaction<Tables>): Promise<void> {
    const workspace = of!;
    const [row] = await tx.run(segmentById, { workspace, segment: payload.segmentId });
    const left = row === undefined ? await this.#empty(tx, workspace, payload.segmentId) : row.condition_id === payload.conditionId && (await this.#fill(tx, row));
    if (left) await tx.publish(settleSegment, payload, { workspace, trace });
  }

  /** True when there may be more. */
  async #fill(tx: Transaction<Tables>, { workspace_id: workspace, id: segment, filled_to: filled }: SegmentRow): Promise<boolean> {
    let place = filled;
    let looked = 0;
    const until = performance.now() + LONGEST_MS;
    const memberships = new Memberships(tx, workspace, this.#segments);
    while (place !== null && looked < PEOPLE_AT_ONCE && performance.now() < until) {
      const [next, people] = await this.#fillSome(tx, memberships, { workspace, segment, after: place }, until);
      place = next;
      looked += people;
      await nextTurn();
    }
    await memberships.flush();
    await tx.run(filledTo, { workspace, segment, place, more: looked });
    return place !== null;
  }

  /** Answers where to go on, null at the end, and how many people it has looked at. */
  async #fillSome(tx: Transaction<Tables>, memberships: Memberships, from: { readonly workspace: string; readonly segment: string; readonly after: string }, until: number): Promise<[string | null, number]> {
    const segment = (await memberships.live()).find(({ segmentId }) => segmentId === from.segment)!;
    const people = (await tx.run(peopleAfter, { workspace: from.workspace, after: from.after, limit: ROWS_A_TURN })).map(toState);
    const last = people.at(-1);
    if (last === undefined) return [null, 0];
    const members = new Set((await tx.run(membersBetween, { ...from, upTo: last.id })).map((row) => row.person_id));
    const changes: Promise<void>[] = [];
    let looked = 0;
    let place = from.after;
    for (const person of people) {
      if (looked > 0 && performance.now() >= until) break;
      if (memberships.isTurnOver) await memberships.rest();
      const belongs = segment.has(person);
      if (belongs !== members.has(person.id)) changes.push(memberships.put(from.segment, person.id, belongs));
      place = person.id;
      looked++;
    }
    await Promise.all(changes);
    return [place === last.id && people.length < ROWS_A_TURN ? null : place, looked];
  }

  /** True when there may be more. */
  async #empty(tx: Transaction<Tables>, workspace: string, segment: string): Promise<boolean> {
    const members = await tx.run(someMembers, { workspace, segment, limit: PEOPLE_AT_ONCE });
    await Promise.all(members.map(({ person_id: person }) => tx.run(removeMember, { workspace, segment, person })));
    return members.length === PEOPLE_AT_ONCE;
  }
}
