import type { z } from 'zod';
import { handledBefore } from '../../src/fabric/inbox.ts';
import { OutboxStore } from '../../src/fabric/outbox.ts';
import { fabricMigrations } from '../../src/fabric/tables.ts';
import { newTrace, systemCall } from '../../src/kernel/call.ts';
import type { Clock } from '../../src/kernel/clock.ts';
import type { Received } from '../../src/kernel/message.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import type { Storage, Store, Transaction } from '../../src/ports/storage.ts';
import { SendRequest } from '../../modules/notification/contract.ts';
import type { Person, eventRecorded, personChanged } from '../../modules/portal/contract.ts';
import { Agenda } from '../../modules/trigger/agenda/agenda.ts';
import { soonest } from '../../modules/trigger/agenda/agenda-statements.ts';
import { Firing } from '../../modules/trigger/agenda/firing.ts';
import { Automations } from '../../modules/trigger/automations/automations.ts';
import type { Automation, AutomationRule } from '../../modules/trigger/contract.ts';
import { migrations } from '../../modules/trigger/migrations.ts';
import { PersonChangedHandler } from '../../modules/trigger/people/person-changed-handler.ts';
import { RuleIndex } from '../../modules/trigger/rules/rule-index.ts';
import { VersionRules } from '../../modules/trigger/rules/version-rules.ts';
import { Departures } from '../../modules/trigger/runs/departures.ts';
import { Entering } from '../../modules/trigger/runs/entering.ts';
import { EventRecordedHandler } from '../../modules/trigger/runs/event-recorded-handler.ts';
import { Merges } from '../../modules/trigger/runs/merges.ts';
import { TriggerSettings } from '../../modules/trigger/settings.ts';
import type { TriggerTables } from '../../modules/trigger/tables.ts';
import { noMetrics, silentLog, testContext } from './context.ts';
import { FakeClock } from './fake-clock.ts';
import { moduleStorage } from './module-storage.ts';

export const WORKSPACE = 'w1';
export type EventRecorded = z.infer<(typeof eventRecorded)['schema']>;
export type PersonChanged = z.infer<(typeof personChanged)['schema']>;

export function person(personId: string, change: Partial<Person> = {}): Person {
  return { personId, version: 1, userId: personId, email: `${personId}@example.org`, attributes: {}, timeZone: null, consent: { email: 'unknown' }, gone: false, ...change };
}

export function rule(change: Partial<AutomationRule> = {}): AutomationRule {
  return { event: 'signed up', when: null, waitMs: 0, still: null, send: { templateId: 't1', channel: 'email' }, reentry: { kind: 'every_time' }, ...change };
}

export interface RigOptions {
  readonly dataDir?: string;
  readonly clock?: Clock;
  readonly log?: Log;
  readonly settings?: z.input<typeof TriggerSettings>;
  readonly storage?: object;
  /** Default true: what is published is checked against its schema. */
  readonly strict?: boolean;
  /** Stands between trigger and its database, to make trouble. */
  readonly around?: (store: Store<TriggerTables>) => Store<TriggerTables>;
}

/** How a message's work is put into transactions. */
export type Within = <P>(received: Received<P>, handle: (received: Received<P>, tx: Transaction<TriggerTables>) => Promise<void>, queue: string) => Promise<void>;

export type Deliver = { readonly id: string; readonly workspace: string };

/** Trigger on a real database without bus and container: messages are put in by hand, sends are read from the outbox. */
export class TriggerRig {
  readonly clock: Clock;
  readonly dataDir: string;
  readonly storage: Storage<any>;
  readonly store: Store<TriggerTables>;
  readonly rules: RuleIndex;
  readonly agenda: Agenda;
  readonly automations: Automations;
  readonly #events: EventRecordedHandler;
  readonly #persons: PersonChangedHandler;
  readonly #remove: () => void;
  #messages = 0;

  constructor(options: RigOptions = {}) {
    const context = testContext(options.dataDir === undefined ? {} : { dataDir: options.dataDir });
    this.dataDir = context.dataDir;
    this.#remove = context.remove;
    this.clock = options.clock ?? new FakeClock();
    const settings = TriggerSettings.parse(options.settings ?? {});
    this.storage = moduleStorage(context, 'trigger', { durability: 'process-crash', ...options.storage });
    const store = new OutboxStore<TriggerTables>(this.storage, { module: 'trigger', publishes: new Set(['notification.send-requested']), strict: options.strict ?? true, clock: this.clock }, () => {});
    this.store = options.around?.(store) ?? store;
    this.rules = new RuleIndex(this.store, settings, noMetrics);
    const versions = new VersionRules(this.store);
    this.agenda = new Agenda(this.store, this.clock, options.log ?? silentLog, noMetrics, settings, new Firing(versions));
    this.automations = new Automations(this.store, this.clock, settings, this.rules, this.agenda);
    this.#events = new EventRecordedHandler(this.rules, new Entering(this.clock, this.agenda));
    this.#persons = new PersonChangedHandler(new Merges(versions), new Departures());
  }

  async start(): Promise<this> {
    await this.storage.start();
    await this.storage.migrate([...fabricMigrations, ...migrations]);
    await this.rules.start();
    await this.agenda.start();
    return this;
  }

  /** Ends the process's part; the data stays. */
  async stop(): Promise<void> {
    await this.agenda.stop(5_000);
    await this.rules.stop(1_000);
    await this.storage.stop(5_000);
  }

  async dispose(): Promise<void> {
    await this.stop();
    this.#remove();
  }

  save(change: Partial<AutomationRule>, automationId?: string): Promise<Automation> {
    return this.automations.saveAutomation({ name: 'test', rule: rule(change), ...(automationId === undefined ? {} : { automationId }) }, this.call());
  }

  call(workspace = WORKSPACE) {
    return systemCall('test', workspace, Date.now() + 60_000);
  }

  event(event: Partial<EventRecorded> & { person: Person }, message: Partial<Deliver> = {}, within: Within = this.once): Promise<void> {
    const number = ++this.#messages;
    const payload: EventRecorded = { eventId: `e${number}`, type: 'track', name: 'signed up', properties: {}, time: this.clock.now(), ...event };
    return within(this.#received(payload, { id: payload.eventId, ...message }), (received, tx) => this.#events.handle(received, tx), 'events');
  }

  changed(person: Person, mergedFrom: string[] = [], message: Partial<Deliver> = {}, within: Within = this.once): Promise<void> {
    return within(this.#received({ person, mergedFrom }, { id: `p${++this.#messages}`, ...message }), (received, tx) => this.#persons.handle(received, tx), 'persons');
  }

  /** The way of a message through the inbox, as the fabric's subscriber goes it. */
  readonly once: Within = async (received, handle, queue) => {
    await this.store.transaction(async (tx) => {
      if (!(await handledBefore(tx, queue, received.id, this.clock.now()))) await handle(received, tx);
    });
  };

  /** Moves a fake clock on, and waits until what is due by then is done. */
  async advance(ms: number): Promise<void> {
    await (this.clock as FakeClock).advance(ms);
    const until = performance.now() + 10_000;
    while ((await this.store.run(soonest, {}))[0]?.due! <= this.clock.now()) {
      if (performance.now() > until) throw new Error('The agenda does not fire what is due.');
      await (this.clock as FakeClock).advance(0);
    }
  }

  /** What notification was asked for so far, in order. */
  async sends(): Promise<{ id: string; workspace: string | null; request: z.infer<typeof SendRequest> }[]> {
    const rows = await this.storage.db.selectFrom('fabric_outbox').selectAll().where('name', '=', 'notification.send-requested').orderBy('seq').execute();
    return rows.map((row) => ({ id: row.id as string, workspace: row.workspace as string, request: SendRequest.parse(JSON.parse(row.payload as string)) }));
  }

  counts(automationId: string, workspace = WORKSPACE) {
    return this.automations.countRuns({ automationId }, this.call(workspace));
  }

  async agendaRows(workspace = WORKSPACE) {
    return (await this.automations.listAgenda({ limit: 200 }, this.call(workspace))).items;
  }

  #received<P>(payload: P, { id, workspace = WORKSPACE }: Partial<Deliver> & { id: string }): Received<P> {
    return { id, name: 'test', workspace, payload, time: this.clock.now(), trace: newTrace(), attempt: 1, last: false };
  }
}
