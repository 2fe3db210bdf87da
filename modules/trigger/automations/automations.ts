import { inject, injectable } from 'inversify';
import type { Call } from '../../../src/kernel/call.ts';
import { Clock } from '../../../src/kernel/clock.ts';
import { type Place, readCursor, writeCursor } from '../../../src/kernel/cursor.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { idFrom, newId } from '../../../src/kernel/ids.ts';
import { canonicalJson } from '../../../src/kernel/json-schema.ts';
import { Settings } from '../../../src/kernel/module.ts';
import { type Reader, Store, type Transaction } from '../../../src/ports/storage.ts';
import { Agenda } from '../agenda/agenda.ts';
import { listAgenda } from '../agenda/agenda-list.ts';
import { type Automation, type AutomationRule, type Trigger } from '../contract.ts';
import { checkRule } from '../rules/check.ts';
import { RuleIndex } from '../rules/rule-index.ts';
import { LEFT_REASONS, type LeftColumn } from '../runs/counts.ts';
import type { TriggerSettings } from '../settings.ts';
import type { TriggerTables } from '../tables.ts';
import * as stored from './stored-automations.ts';

type Request<M extends keyof Trigger> = Parameters<Trigger[M]>[0];
type Answer<M extends keyof Trigger> = ReturnType<Trigger[M]>;
type Tx = Transaction<TriggerTables>;

/** The newest versions that are listed. */
const VERSIONS_LISTED = 200;
const NEWEST: Place = { time: Number.MAX_SAFE_INTEGER, key: '' };

/** What trigger's contract promises. */
@injectable()
export class Automations implements Trigger {
  readonly #store: Store<TriggerTables>;
  readonly #clock: Clock;
  readonly #settings: TriggerSettings;
  readonly #rules: RuleIndex;
  readonly #agenda: Agenda;

  constructor(
    @inject(Store) store: Store<TriggerTables>,
    @inject(Clock) clock: Clock,
    @inject(Settings) settings: TriggerSettings,
    @inject(RuleIndex) rules: RuleIndex,
    @inject(Agenda) agenda: Agenda,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#settings = settings;
    this.#rules = rules;
    this.#agenda = agenda;
  }

  async saveAutomation(request: Request<'saveAutomation'>, call: Call): Answer<'saveAutomation'> {
    const workspace = call.requireWorkspace();
    checkRule(request.rule);
    const saved = await this.#store.transaction((tx) => (request.automationId === undefined ? this.#create(tx, workspace, request, call) : this.#change(tx, workspace, request.automationId, request, call)));
    await this.#rules.refresh(workspace, saved.automationId);
    return saved;
  }

  async setAutomationEnabled({ automationId, enabled }: Request<'setAutomationEnabled'>, call: Call): Answer<'setAutomationEnabled'> {
    const workspace = call.requireWorkspace();
    const now = this.#clock.now();
    const [automation, changed] = await this.#store.transaction(async (tx) => {
      const before = await this.#find(tx, workspace, automationId);
      if (before.enabled === enabled) return [before, false];
      await (enabled ? stored.turnOn : stored.turnOff)(tx, workspace, automationId, now);
      return [{ ...before, enabled, updatedAt: now }, true];
    });
    await this.#rules.refresh(workspace, automationId);
    if (changed && !enabled) this.#agenda.purgeSoon();
    return automation;
  }

  getAutomation({ automationId }: Request<'getAutomation'>, call: Call): Answer<'getAutomation'> {
    return this.#find(this.#store, call.requireWorkspace(), automationId);
  }

  async listAutomations({ after, limit }: Request<'listAutomations'>, call: Call): Answer<'listAutomations'> {
    const workspace = call.requireWorkspace();
    const { time, key: id } = after === undefined ? NEWEST : readCursor(after);
    const rows = await this.#store.run(stored.automationsBefore, { workspace, limit, time, id });
    const last = rows.length === limit ? rows.at(-1) : undefined;
    return { items: rows.map(stored.toAutomation), next: last === undefined ? null : writeCursor({ time: last.created_at, key: last.id }) };
  }

  async listAutomationVersions({ automationId: id }: Request<'listAutomationVersions'>, call: Call): Answer<'listAutomationVersions'> {
    const rows = await this.#store.run(stored.versionsOf, { workspace: call.requireWorkspace(), id, limit: VERSIONS_LISTED });
    if (rows.length === 0) throw missing();
    return { items: rows.map(({ version, rule, created_at: createdAt }) => ({ version, rule: JSON.parse(rule) as AutomationRule, createdAt })) };
  }

  async countRuns({ automationId: id }: Request<'countRuns'>, call: Call): Answer<'countRuns'> {
    const [row] = await this.#store.run(stored.countsOf, { workspace: call.requireWorkspace(), id });
    if (row === undefined) throw missing();
    const left: Record<string, number> = {};
    for (const column of Object.keys(LEFT_REASONS) as LeftColumn[]) {
      if (row[column] > 0) left[LEFT_REASONS[column]] = row[column];
    }
    return { entered: row.entered, waiting: row.waiting, sent: row.sent, left, turnedAway: row.turned_away };
  }

  async listAgenda({ automationId, personId, after, limit }: Request<'listAgenda'>, call: Call): Answer<'listAgenda'> {
    const workspace = call.requireWorkspace();
    return listAgenda(this.#store, { workspace, automationId, personId, limit, after: after === undefined ? undefined : readCursor(after) });
  }

  async #create(tx: Tx, workspace: string, { name, rule, ifVersion }: Request<'saveAutomation'>, call: Call): Promise<Automation> {
    if (ifVersion !== undefined) throw changedSince(null);
    const automationId = call.idempotencyKey === undefined ? newId() : idFrom('automation', workspace, call.actor.kind, call.actor.id, call.idempotencyKey);
    const [before] = await tx.run(stored.automationById, { workspace, id: automationId });
    if (before !== undefined) return stored.toAutomation(before);
    const most = this.#settings.automationsPerWorkspace;
    if ((await stored.countAutomations(tx, workspace)) >= most) {
      throw new Fault('exhausted', `The workspace has ${most} automations, the most it may have. Change one that is off.`, { reason: 'too_many_automations', details: { most } });
    }
    const now = this.#clock.now();
    const automation: Automation = { automationId, name, enabled: true, version: 1, rule, createdAt: now, updatedAt: now };
    await stored.insertAutomation(tx, workspace, automation);
    await stored.insertVersion(tx, workspace, automation, nameOf(call));
    return automation;
  }

  async #change(tx: Tx, workspace: string, automationId: string, { name, rule, ifVersion }: Request<'saveAutomation'>, call: Call): Promise<Automation> {
    const before = await this.#find(tx, workspace, automationId);
    const caller = nameOf(call);
    const saved = caller === null ? undefined : await stored.savedBy(tx, workspace, automationId, caller);
    // A key that comes again with another rule, days later, is another change.
    if (saved !== undefined && canonicalJson(saved) === canonicalJson(rule)) return before;
    if (ifVersion !== undefined && ifVersion !== before.version) throw changedSince(before.version);
    const sameRule = canonicalJson(rule) === canonicalJson(before.rule);
    if (sameRule && name === before.name) return before;
    const automation: Automation = { ...before, name, rule, version: sameRule ? before.version : before.version + 1, updatedAt: this.#clock.now() };
    await stored.updateAutomation(tx, workspace, automation);
    if (!sameRule) await stored.insertVersion(tx, workspace, automation, caller);
    return automation;
  }

  async #find(reader: Reader<TriggerTables>, workspace: string, id: string): Promise<Automation> {
    const [row] = await reader.run(stored.automationById, { workspace, id });
    if (row === undefined) throw missing();
    return stored.toAutomation(row);
  }
}

/** One caller's one call, whenever it comes again: two callers may well choose the same key. */
function nameOf({ actor, idempotencyKey }: Call): string | null {
  return idempotencyKey === undefined ? null : idFrom('save', actor.kind, actor.id, idempotencyKey);
}

function missing(): Fault {
  return new Fault('not_found', 'There is no such automation in this workspace.', { reason: 'automation_not_found' });
}

function changedSince(version: number | null): Fault {
  return new Fault('conflict', version === null ? 'A new automation has no version yet: leave ifVersion out.' : 'The automation was changed meanwhile. Read it again and make the change on its newest version.', {
    reason: 'version_changed',
    details: { version },
  });
}
