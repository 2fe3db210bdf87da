import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Store, Transaction, TransactionOptions } from '../../../src/ports/storage.ts';
import type { AutomationRule } from '../../../modules/trigger/contract.ts';
import type { TriggerTables } from '../../../modules/trigger/tables.ts';
import { testContext } from '../../support/context.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { TriggerRig, person, rule } from '../../support/trigger-rig.ts';

/** Everything happens at whole steps of the clock, so that what is tried again falls between two of them. */
const STEP_MS = 600_000;
const SETTLE_MS = 60_000;
const PEOPLE = ['ann', 'bob', 'cid', 'dee'];
const AUTOMATIONS = ['one', 'two', 'three'];

type Step =
  | { readonly do: 'event'; readonly who: number; readonly stepsAgo: number; readonly gold: boolean }
  | { readonly do: 'person'; readonly who: number; readonly gold: boolean }
  | { readonly do: 'merge'; readonly who: number; readonly into: number }
  | { readonly do: 'delete'; readonly who: number }
  | { readonly do: 'save'; readonly which: number; readonly change: Partial<AutomationRule> }
  | { readonly do: 'turn'; readonly which: number; readonly on: boolean }
  | { readonly do: 'wait'; readonly steps: number };

const index = (length: number): fc.Arbitrary<number> => fc.nat(length - 1);
const isGold = { field: 'person.gold', op: 'eq', value: true } as const;
const change: fc.Arbitrary<Partial<AutomationRule>> = fc.record({
  when: fc.constantFrom(null, { field: 'event.gold', op: 'eq' as const, value: true }),
  still: fc.constantFrom(null, isGold),
  waitMs: fc.constantFrom(0, STEP_MS, 3 * STEP_MS),
  reentry: fc.constantFrom<AutomationRule['reentry']>({ kind: 'once' }, { kind: 'once_per', periodMs: 2 * STEP_MS }, { kind: 'every_time' }),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant('event' as const), who: index(PEOPLE.length), stepsAgo: fc.nat(4), gold: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('person' as const), who: index(PEOPLE.length), gold: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('merge' as const), who: index(PEOPLE.length), into: index(PEOPLE.length) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete' as const), who: index(PEOPLE.length) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('save' as const), which: index(AUTOMATIONS.length), change }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('turn' as const), which: index(AUTOMATIONS.length), on: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('wait' as const), steps: fc.integer({ min: 1, max: 4 }) }) },
);

/** Each as likely as the others: fc.double is below 0.1 nearly always, as most doubles are. */
const chances = fc.noBias(fc.infiniteStream(fc.nat(99)));

/** Every other transaction or so is rolled back after its work was done; never more than two in a row. */
class Trouble {
  inARow = 0;
  readonly draw: () => number;
  constructor(draw: () => number) {
    this.draw = draw;
  }

  readonly around = (store: Store<TriggerTables>): Store<TriggerTables> => ({
    db: store.db,
    capabilities: store.capabilities,
    run: store.run,
    scan: store.scan,
    lists: store.lists,
    transaction: async <T>(work: (tx: Transaction<TriggerTables>) => Promise<T>, options?: TransactionOptions): Promise<T> => {
      const fails = this.draw() < 40 && this.inARow < 2;
      this.inARow = fails ? this.inARow + 1 : 0;
      return store.transaction(async (tx) => {
        const result = await work(tx);
        if (fails) throw new Fault('unavailable', 'Rolled back on purpose.');
        return result;
      }, options);
    },
  });
}

/** Knows when trigger leaves its database in peace, however long that takes to answer: time stands still until then. */
class Underway {
  readonly #transactions = new Set<Promise<unknown>>();

  readonly around = (store: Store<TriggerTables>): Store<TriggerTables> => ({
    db: store.db,
    capabilities: store.capabilities,
    run: store.run,
    scan: store.scan,
    lists: store.lists,
    transaction: (work, options) => {
      const transaction = store.transaction(work, options);
      const forget = (): void => void this.#transactions.delete(transaction);
      this.#transactions.add(transaction);
      transaction.then(forget, forget);
      return transaction;
    },
  });

  readonly over = async (): Promise<void> => {
    // Between two rounds the agenda gives the event loop a turn.
    for (let quietTurns = 0; quietTurns < 2; quietTurns++) {
      await nextTurn();
      if (this.#transactions.size === 0) continue;
      await Promise.allSettled(this.#transactions);
      quietTurns = -1;
    }
  };
}

/** Carries out the steps; `draw`, a number below 100, makes trouble: rollbacks, repeats, restarts. */
class Story {
  readonly #place = testContext();
  readonly #underway = new Underway();
  readonly #clock = new FakeClock(1_000 * STEP_MS + SETTLE_MS, this.#underway.over);
  readonly #draw: () => number;
  readonly #trouble: Trouble | undefined;
  readonly #ids = new Map<string, string>();
  readonly #state = PEOPLE.map(() => ({ version: 1, gold: false, gone: false }));
  #rig!: TriggerRig;
  #number = 0;

  constructor(draw?: () => number) {
    this.#draw = draw ?? (() => 100);
    this.#trouble = draw && new Trouble(draw);
  }

  async tell(steps: readonly Step[]): Promise<object> {
    await this.#open();
    for (const name of AUTOMATIONS) await this.#save(name, { waitMs: STEP_MS });
    for (const one of steps) {
      await this.#take(one);
      if (this.#draw() < 10) {
        await this.#rig.stop();
        await this.#open();
      }
      await this.#settle();
      await this.#checkEquation();
    }
    const end = await this.#dump();
    await this.#rig.stop();
    this.#place.remove();
    return end;
  }

  async #open(): Promise<void> {
    const around = (store: Store<TriggerTables>) => this.#underway.around(this.#trouble?.around(store) ?? store);
    this.#rig = await new TriggerRig({ dataDir: this.#place.dataDir, clock: this.#clock, settings: { agendaBatchRows: 3 }, around }).start();
  }

  async #take(one: Step): Promise<void> {
    const id = `m${++this.#number}`;
    switch (one.do) {
      case 'event': {
        const time = this.#clock.now() - SETTLE_MS - one.stepsAgo * STEP_MS;
        const payload = { eventId: id, time, properties: { gold: one.gold }, person: this.#person(one.who) };
        return this.#surely(() => this.#rig.event(payload, { id }));
      }
      case 'person': {
        Object.assign(this.#state[one.who]!, { gold: one.gold, version: this.#state[one.who]!.version + 1 });
        const newest = this.#person(one.who);
        return this.#surely(() => this.#rig.changed(newest, [], { id }));
      }
      case 'merge': {
        // Only upwards, as persons do not merge in circles; who is gone does not come back.
        if (one.who >= one.into) return;
        this.#state[one.into]!.version++;
        const target = this.#person(one.into);
        return this.#surely(() => this.#rig.changed(target, [PEOPLE[one.who]!], { id }));
      }
      case 'delete': {
        Object.assign(this.#state[one.who]!, { gone: true, version: this.#state[one.who]!.version + 1 });
        const gone = this.#person(one.who);
        return this.#surely(() => this.#rig.changed(gone, [], { id }));
      }
      case 'save':
        return this.#save(AUTOMATIONS[one.which]!, one.change);
      case 'turn':
        return this.#surely(async () => void (await this.#rig.automations.setAutomationEnabled({ automationId: this.#ids.get(AUTOMATIONS[one.which]!)!, enabled: one.on }, this.#rig.call())));
      case 'wait':
        return this.#clock.advance(one.steps * STEP_MS - SETTLE_MS);
    }
  }

  #person(who: number) {
    const { version, gold, gone } = this.#state[who]!;
    return person(PEOPLE[who]!, { version, gone, attributes: { gold } });
  }

  async #save(name: string, how: Partial<AutomationRule>): Promise<void> {
    const automationId = this.#ids.get(name);
    const call = this.#rig.call().with({ idempotencyKey: `k${++this.#number}` });
    await this.#surely(async () => {
      const saved = await this.#rig.automations.saveAutomation({ name, rule: rule(how), ...(automationId === undefined ? {} : { automationId }) }, call);
      this.#ids.set(name, saved.automationId);
    });
  }

  /** Until it succeeds, and sometimes once more. */
  async #surely(action: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await action();
        if (this.#draw() >= 30) return;
      } catch (thrown) {
        if (!Fault.is(thrown) || thrown.code !== 'unavailable') throw thrown;
      }
    }
  }

  /** Gives what failed the time to be tried again, and comes back to a settle after a whole step. */
  async #settle(): Promise<void> {
    const target = Math.ceil((this.#clock.now() - SETTLE_MS) / STEP_MS) * STEP_MS + SETTLE_MS;
    while (this.#clock.now() < target) {
      await this.#clock.advance(Math.min(2_000, target - this.#clock.now()));
    }
  }

  async #checkEquation(): Promise<void> {
    const agenda = await this.#rig.agendaRows();
    const sends = await this.#rig.sends();
    assert.equal(new Set(sends.map(({ id }) => id)).size, sends.length, 'a send was asked for twice');
    for (const id of this.#ids.values()) {
      const counts = await this.#rig.counts(id);
      const left = Object.values(counts.left).reduce((sum, n) => sum + n, 0);
      assert.equal(counts.entered, counts.waiting + counts.sent + left, JSON.stringify(counts));
      assert.equal(counts.waiting, agenda.filter((row) => row.automationId === id).length);
      assert.equal(counts.sent, sends.filter(({ request }) => request.source.id === id).length);
    }
  }

  async #dump(): Promise<object> {
    const { db } = this.#rig.store;
    return {
      automations: await db.selectFrom('automations').selectAll().orderBy('id').execute(),
      versions: await db.selectFrom('automation_versions').selectAll().orderBy('automation_id').orderBy('version').execute(),
      people: await db.selectFrom('people').selectAll().orderBy('id').execute(),
      entries: await db.selectFrom('entries').selectAll().orderBy('person_id').orderBy('automation_id').orderBy('event_id').execute(),
      agenda: await this.#rig.agendaRows(),
      sends: (await this.#rig.sends()).toSorted((a, b) => (a.id < b.id ? -1 : 1)),
    };
  }
}

test('whatever is rolled back, repeated or interrupted, everything has its effect exactly once', { timeout: 120_000 }, async () => {
  const seed = Number(process.env.MULTILITH_SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`seed ${seed}`);
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), chances, async (steps, chance) => {
      const calm = await new Story().tell(steps);
      const troubled = await new Story(() => chance.next().value!).tell(steps);
      assert.deepEqual(troubled, calm);
    }),
    { numRuns: 6, seed },
  );
});
