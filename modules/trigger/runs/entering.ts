import { inject, injectable } from 'inversify';
import type { z } from 'zod';
import type { Trace } from '../../../src/kernel/call.ts';
import { Clock } from '../../../src/kernel/clock.ts';
import type { Transaction } from '../../../src/ports/storage.ts';
import type { eventRecorded } from '../../portal/contract.ts';
import { Agenda } from '../agenda/agenda.ts';
import { plan } from '../agenda/agenda-statements.ts';
import { liveRule, stillLive } from '../automations/automation-statements.ts';
import { type SeenPerson, newestFacts } from '../people/people.ts';
import { type LiveRule, toLiveRule } from '../rules/live-rule.ts';
import { reentryWindow } from '../rules/reentry.ts';
import type { TriggerTables } from '../tables.ts';
import type { CountChange, Tally } from './counts.ts';
import { enter, hasEntered } from './entry-statements.ts';
import { requestSend, runIdOf } from './sends.ts';

export type EventRecorded = z.infer<(typeof eventRecorded)['schema']>;

/** What an event does within its workspace, once it has matched. */
export interface Matched {
  readonly workspace: string;
  readonly event: EventRecorded;
  readonly person: SeenPerson;
  readonly trace: Trace;
  /** Written by the caller, in the same transaction. */
  readonly counts: Tally;
}

/**
 * Lets a person into an automation. In one transaction: the re-entry rule is checked and the entry recorded, the
 * send is asked for or the wait planned, and counted.
 */
@injectable()
export class Entering {
  readonly #clock: Clock;
  readonly #agenda: Agenda;

  constructor(@inject(Clock) clock: Clock, @inject(Agenda) agenda: Agenda) {
    this.#clock = clock;
    this.#agenda = agenda;
  }

  async enter(tx: Transaction<TriggerTables>, rule: LiveRule, matched: Matched): Promise<void> {
    const { workspace, event, person, counts } = matched;
    const { automationId, version, epoch } = rule;
    const entry = { workspace, personId: person.personId, automationId, eventAt: event.time, eventId: event.eventId };
    const entered = await tx.run(enter, { ...entry, version, epoch, ...reentryWindow(rule.rule.reentry, event.time) });
    if (entered.length > 0) {
      counts.add(workspace, automationId, { entered: 1, ...(await this.#begin(tx, rule, matched)) });
    } else if ((await tx.run(hasEntered, entry)).length === 0) {
      await this.#turnAway(tx, rule, matched);
    }
  }

  /** The rule may be older than the database's: then the newest one decides. */
  async #turnAway(tx: Transaction<TriggerTables>, rule: LiveRule, matched: Matched): Promise<void> {
    const { workspace, event, counts } = matched;
    const { automationId: id, version, epoch } = rule;
    const asKnown = await tx.run(stillLive, { workspace, id, version, epoch });
    if (asKnown.length > 0) return counts.add(workspace, id, { turned_away: 1 });
    const [row] = await tx.run(liveRule, { workspace, id });
    if (row === undefined) return;
    const newest = toLiveRule(row);
    if (newest.rule.event === event.name && newest.when(event.properties, event.person)) await this.enter(tx, newest, matched);
  }

  /**
   * The wait counts from the event's own time. What is due by now happens now: for an event that arrives late, too,
   * since it is as late as it would be if it had been waiting here.
   */
  async #begin(tx: Transaction<TriggerTables>, rule: LiveRule, matched: Matched): Promise<CountChange> {
    const { event, person } = matched;
    if (person.gone) return { left_gone: 1 };
    const due = event.time + rule.rule.waitMs;
    if (rule.rule.waitMs > 0 && due > this.#clock.now()) return this.#wait(tx, rule, matched, due);
    return this.#decide(tx, rule, matched);
  }

  async #decide(tx: Transaction<TriggerTables>, rule: LiveRule, { workspace, event, person, trace }: Matched): Promise<CountChange> {
    const { personId } = person;
    if (rule.still !== null) {
      const facts = person.asInEvent ? event.person : await newestFacts(tx, workspace, personId);
      if (facts === undefined) return { left_gone: 1 };
      if (!rule.still(event.properties, facts)) return { left_unqualified: 1 };
    }
    const { automationId, version } = rule;
    const { eventId, properties } = event;
    await requestSend(tx, runIdOf(workspace, automationId, eventId), { workspace, automationId, version, personId, eventId, properties }, rule.rule.send, trace);
    return { sent: 1 };
  }

  async #wait(tx: Transaction<TriggerTables>, rule: LiveRule, { workspace, event, person }: Matched, due: number): Promise<CountChange> {
    await tx.run(plan, {
      due,
      run_id: runIdOf(workspace, rule.automationId, event.eventId),
      workspace,
      automation_id: rule.automationId,
      version: rule.version,
      epoch: rule.epoch,
      person_id: person.personId,
      event_id: event.eventId,
      event_at: event.time,
      event: JSON.stringify(event.properties),
    });
    this.#agenda.expect(due);
    return { waiting: 1 };
  }
}
