import { z } from 'zod';
import type { Call } from '../../src/kernel/call.ts';
import { conditionOver } from '../../src/kernel/conditions/condition.ts';
import { command, contract, query } from '../../src/kernel/contract.ts';

/** `event.<path>` reads the event's properties, `person.<path>` the person's attributes, `person.email` and `person.timeZone`. */
const FieldPath = z.string().regex(/^(event|person)(\.[^.]{1,100}){1,8}$/, 'must look like event.amount or person.address.city');

/** At most 10 levels deep and 200 leaves (checked on save). */
export const Condition = conditionOver(FieldPath);
export type Condition = z.infer<typeof Condition>;

const TEN_YEARS_MS = 10 * 366 * 86_400_000;

/** When this event happens, wait, and if the person still qualifies, send. */
export const AutomationRule = z.object({
  event: z.string().min(1).max(200),
  /** Looked at when the event arrives; null is always. */
  when: Condition.nullable(),
  /** From the event's own time. What is over by the time the event arrives happens at once. */
  waitMs: z.int().min(0).max(TEN_YEARS_MS),
  /** Looked at after the wait, with the person's newest attributes; null is always. */
  still: Condition.nullable(),
  send: z.object({ templateId: z.string(), channel: z.string().min(1).max(50) }),
  /** Whether a person may enter again, by the events' own times; every entry counts, whatever became of it. */
  reentry: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('once') }),
    z.object({ kind: z.literal('once_per'), periodMs: z.int().min(1_000).max(TEN_YEARS_MS) }),
    z.object({ kind: z.literal('every_time') }),
  ]),
});
export type AutomationRule = z.infer<typeof AutomationRule>;

export const Automation = z.object({
  automationId: z.string(),
  name: z.string(),
  enabled: z.boolean(),
  /** Rises by one with every change of the rule; a run keeps the version that it began with. */
  version: z.int().positive(),
  rule: AutomationRule,
  createdAt: z.int(),
  updatedAt: z.int(),
});
export type Automation = z.infer<typeof Automation>;

const Page = { after: z.string().optional(), limit: z.int().min(1).max(200) };
const SaveAutomation = z.object({
  /** Left out: a new one. */
  automationId: z.string().optional(),
  name: z.string().min(1).max(200),
  rule: AutomationRule,
  /** The version that the change was made on; another one now is a fault `conflict` (`version_changed`). */
  ifVersion: z.int().positive().optional(),
});
const ById = z.object({ automationId: z.string() });
const SetEnabled = z.object({ automationId: z.string(), enabled: z.boolean() });
const ListAutomations = z.object({ ...Page });
const AutomationList = z.object({ items: z.array(Automation), next: z.string().nullable() });
const AutomationVersions = z.object({ items: z.array(z.object({ version: z.int().positive(), rule: AutomationRule, createdAt: z.int() })) });

/** One thing that will happen. */
export const AgendaEntry = z.object({
  runId: z.string(),
  automationId: z.string(),
  version: z.int().positive(),
  personId: z.string(),
  due: z.int(),
  eventId: z.string(),
});
const ListAgenda = z.object({ automationId: z.string().optional(), personId: z.string().optional(), ...Page });
const Agenda = z.object({ items: z.array(AgendaEntry), next: z.string().nullable() });

/** Every event that matched `event` and `when` is in exactly one of these. */
const RunCounts = z.object({
  entered: z.int(),
  waiting: z.int(),
  sent: z.int(),
  /** Not sent, by reason: `no_longer_qualifies` (`still` did not hold), `person_gone`, `turned_off`, `merged` (with one who had entered). */
  left: z.record(z.string(), z.int()),
  /** Not entered because of the re-entry rule. */
  turnedAway: z.int(),
});

/** What other modules may ask of trigger. Each answers for the call's workspace only; lists are newest or soonest first. */
export interface Trigger {
  /**
   * Checks, stores and compiles; takes effect for events from now on: a new one is on. The rule as it was makes no new
   * version. Faults `invalid`/`rule_invalid` (details.problems: path, problem, remedy), `exhausted`/`too_many_automations`,
   * `not_found`, `conflict`.
   */
  saveAutomation(request: z.infer<typeof SaveAutomation>, call: Call): Promise<Automation>;
  /** Turning off also ends what waits; turning on starts with the next event. Repeating it changes nothing. */
  setAutomationEnabled(request: z.infer<typeof SetEnabled>, call: Call): Promise<Automation>;
  getAutomation(request: z.infer<typeof ById>, call: Call): Promise<Automation>;
  listAutomations(request: z.infer<typeof ListAutomations>, call: Call): Promise<z.infer<typeof AutomationList>>;
  listAutomationVersions(request: z.infer<typeof ById>, call: Call): Promise<z.infer<typeof AutomationVersions>>;
  countRuns(request: z.infer<typeof ById>, call: Call): Promise<z.infer<typeof RunCounts>>;
  listAgenda(request: z.infer<typeof ListAgenda>, call: Call): Promise<z.infer<typeof Agenda>>;
}

const notFound = ['automation_not_found'];
export const trigger = contract<Trigger>('trigger', {
  saveAutomation: command({ input: SaveAutomation, output: Automation, timeoutMs: 5_000, faults: ['rule_invalid', 'version_changed', 'too_many_automations', ...notFound] }),
  setAutomationEnabled: command({ input: SetEnabled, output: Automation, timeoutMs: 5_000, faults: notFound }),
  getAutomation: query({ input: ById, output: Automation, timeoutMs: 2_000, faults: notFound }),
  listAutomations: query({ input: ListAutomations, output: AutomationList, timeoutMs: 2_000, faults: ['cursor_invalid'] }),
  listAutomationVersions: query({ input: ById, output: AutomationVersions, timeoutMs: 2_000, faults: notFound }),
  countRuns: query({ input: ById, output: RunCounts, timeoutMs: 2_000, faults: notFound }),
  listAgenda: query({ input: ListAgenda, output: Agenda, timeoutMs: 2_000, faults: ['cursor_invalid'] }),
});
