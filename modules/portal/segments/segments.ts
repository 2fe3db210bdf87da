import { inject, injectable } from 'inversify';
import { z } from 'zod';
import type { Call } from '../../../src/kernel/call.ts';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { problemsOfCondition, refuseProblems } from '../../../src/kernel/conditions/check.ts';
import { type Condition, conditionOver } from '../../../src/kernel/conditions/condition.ts';
import { costOf } from '../../../src/kernel/conditions/cost.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { idFrom, newId } from '../../../src/kernel/ids.ts';
import { canonicalJson } from '../../../src/kernel/json-schema.ts';
import { Store, type Transaction } from '../../../src/ports/storage.ts';
import type { SegmentRow, Tables } from '../tables.ts';
import { LiveSegments } from './live-segments.ts';
import { findSegment, segmentById } from './segment-rows.ts';
import { settleSegment } from './settle-handler.ts';

/**
 * `person.<path>` as in automations; `record.userId`, `record.consent.email` and `record.createdAt` (epoch milliseconds)
 * are what portal itself keeps of a person. None of them changes by the mere passing of time.
 */
const Field = z.string().regex(/^(person(\.[^.]{1,100}){1,8}|record\.(userId|consent\.email|createdAt))$/, 'must look like person.address.city, or be record.userId, record.consent.email or record.createdAt');
/** At most 10 levels deep and 200 leaves (checked on save). */
export const SegmentCondition = conditionOver(Field);

/** Each is asked about every person who changes. */
const MOST_SEGMENTS = 100;
const MOST_CONDITION_CHARACTERS = 20_000;
/** Of a workspace's conditions together: at worst some 60 ms for each person who changes, which everybody waits for who writes. */
const MOST_COST = 2_000;

export interface Segment {
  readonly segmentId: string;
  readonly name: string;
  readonly condition: Condition;
  /** Rises by one with each change of name or condition. */
  readonly version: number;
  /** `filling` until everybody has been looked at since the condition was last changed; until then some may be missing, or still in it. */
  readonly state: 'filling' | 'ready';
  /** Of the people of the workspace, so many have been looked at since then. */
  readonly lookedAt: number;
  /** How many belong to it. */
  readonly people: number;
  readonly createdAt: EpochMs;
  readonly updatedAt: EpochMs;
}

interface Wanted {
  readonly name: string;
  readonly condition: Condition;
}

/** People of whom a condition holds, kept up to date with every change of a person in the transaction of that change. */
@injectable()
export class Segments {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;
  readonly #live: LiveSegments;

  constructor(@inject(Store) store: Store<Tables>, @inject(Clock) clock: Clock, @inject(LiveSegments) live: LiveSegments) {
    this.#store = store;
    this.#clock = clock;
    this.#live = live;
  }

  /**
   * Who belongs to it is found in the background. A repeat with the call's idempotency key finds the segment that the
   * first one made. Faults: `invalid`/`condition_invalid` (details.problems), `exhausted` (`too_many_segments`,
   * `segments_too_costly`).
   */
  async create({ name, condition }: Wanted, call: Call): Promise<Segment> {
    requireMeaning(condition);
    const workspace = call.requireWorkspace();
    const id = call.idempotencyKey === undefined ? newId() : idFrom('segment', workspace, call.actor.kind, call.actor.id, call.idempotencyKey);
    const now = this.#clock.now();
    return this.#store.transaction(async (tx) => {
      const [before] = await tx.run(segmentById, { workspace, segment: id });
      if (before !== undefined) return toSegment(before);
      const { count } = await tx.db.selectFrom('segments').select((eb) => eb.fn.countAll<number>().as('count')).where('workspace_id', '=', workspace).executeTakeFirstOrThrow();
      if (count >= MOST_SEGMENTS) throw new Fault('exhausted', `A workspace has at most ${MOST_SEGMENTS} segments. Delete some, or change one.`, { reason: 'too_many_segments', details: { most: MOST_SEGMENTS } });
      await this.#requireAffordable(tx, workspace, id, condition);
      const row: SegmentRow = { workspace_id: workspace, id, name, version: 1, people: 0, created_at: now, updated_at: now, ...unfilled(condition) };
      await tx.db.insertInto('segments').values(row).execute();
      await this.#settle(tx, row, call);
      return toSegment(row);
    });
  }

  /**
   * Replaces name and condition. With another condition everybody is looked at anew in the background. As it was, it
   * makes no new version. Faults: `invalid`/`condition_invalid`, `not_found`/`segment_not_found`, `conflict`/`version_changed`,
   * `exhausted`/`segments_too_costly`.
   */
  async save(segmentId: string, { name, condition, ifVersion }: Wanted & { readonly ifVersion?: number | undefined }, call: Call): Promise<Segment> {
    requireMeaning(condition);
    const workspace = call.requireWorkspace();
    return this.#store.transaction(async (tx) => {
      const before = await findSegment(tx, workspace, segmentId);
      const sameCondition = canonicalJson(condition) === canonicalJson(JSON.parse(before.condition_json));
      if (sameCondition && name === before.name) return toSegment(before);
      if (ifVersion !== undefined && ifVersion !== before.version) throw new Fault('conflict', 'The segment has been changed meanwhile.', { reason: 'version_changed', details: { version: before.version } });
      if (!sameCondition) await this.#requireAffordable(tx, workspace, segmentId, condition);
      const row: SegmentRow = { ...before, name, version: before.version + 1, updated_at: this.#clock.now(), ...(sameCondition ? {} : unfilled(condition)) };
      await tx.db.updateTable('segments').set(row).where('workspace_id', '=', workspace).where('id', '=', segmentId).execute();
      if (!sameCondition) await this.#settle(tx, row, call);
      return toSegment(row);
    });
  }

  /** In the order of their names; there are never many. */
  async list(call: Call): Promise<Segment[]> {
    const rows = await this.#store.db.selectFrom('segments').selectAll().where('workspace_id', '=', call.requireWorkspace()).execute();
    return rows.map(toSegment).sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  }

  /** Fault `not_found`/`segment_not_found`. */
  async get(segmentId: string, call: Call): Promise<Segment> {
    return toSegment(await findSegment(this.#store, call.requireWorkspace(), segmentId));
  }

  /** The people stay; who belonged to it is forgotten soon after. Fault `not_found`/`segment_not_found`. */
  async remove(segmentId: string, call: Call): Promise<void> {
    const workspace = call.requireWorkspace();
    await this.#store.transaction(async (tx) => {
      const row = await findSegment(tx, workspace, segmentId);
      await tx.db.deleteFrom('segments').where('workspace_id', '=', workspace).where('id', '=', segmentId).execute();
      await this.#settle(tx, row, call);
    });
  }

  /** Also where they cost too much already, what makes them cheaper may be saved. */
  async #requireAffordable(tx: Transaction<Tables>, workspace: string, segment: string, condition: Condition): Promise<void> {
    const live = await this.#live.of(tx, workspace);
    const cost = costOf(condition);
    const before = live.find(({ segmentId }) => segmentId === segment)?.cost ?? 0;
    const others = live.reduce((total, one) => total + one.cost, 0) - before;
    if (cost <= before || others + cost <= MOST_COST) return;
    throw new Fault('exhausted', `condition counts ${cost}, and those of the workspace's other segments ${others}; together they may count ${MOST_COST}. A comparison counts 1, \`contains\` 10, one with lists or objects 20. Mark people by an attribute and ask for that, or make other segments simpler.`, { reason: 'segments_too_costly', details: { path: 'condition', cost, others, most: MOST_COST } });
  }

  #settle(tx: Transaction<Tables>, { workspace_id: workspace, id, condition_id: conditionId }: SegmentRow, { trace }: Call): Promise<void> {
    return tx.publish(settleSegment, { segmentId: id, conditionId }, { workspace, trace });
  }
}

function unfilled(condition: Condition): Pick<SegmentRow, 'condition_id' | 'condition_json' | 'filled_to' | 'looked_at'> {
  return { condition_id: newId(), condition_json: JSON.stringify(condition), filled_to: '', looked_at: 0 };
}

function requireMeaning(condition: Condition): void {
  const problems = [...problemsOfCondition(condition, 'condition')];
  if (problems.length === 0 && JSON.stringify(condition).length > MOST_CONDITION_CHARACTERS) {
    problems.push({ path: 'condition', problem: `is longer than ${MOST_CONDITION_CHARACTERS} characters as JSON`, remedy: 'Mark these persons by an attribute and ask for that.' });
  }
  refuseProblems(problems, 'condition_invalid');
}

function toSegment(row: SegmentRow): Segment {
  return {
    segmentId: row.id,
    name: row.name,
    condition: JSON.parse(row.condition_json) as Condition,
    version: row.version,
    state: row.filled_to === null ? 'ready' : 'filling',
    lookedAt: row.looked_at,
    people: row.people,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
