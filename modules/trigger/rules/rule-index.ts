import { setImmediate as nextTurn } from 'node:timers/promises';
import { inject, injectable } from 'inversify';
import { type Lifecycle, StartStop } from '../../../src/kernel/lifecycle.ts';
import { Settings } from '../../../src/kernel/module.ts';
import { Metrics } from '../../../src/kernel/telemetry.ts';
import { Store } from '../../../src/ports/storage.ts';
import { changedSince, lastRevision, liveRule, liveRulesAfter, workspacesAfter } from '../automations/automation-statements.ts';
import type { TriggerSettings } from '../settings.ts';
import type { TriggerTables } from '../tables.ts';
import { toLiveRule } from './live-rule.ts';
import { WorkspaceRules } from './workspace-rules.ts';

/** Rules compiled between two turns of the event loop, some 50 µs each. */
const LOAD_ROWS = 100;

interface Loaded {
  readonly rules: WorkspaceRules;
  /** All changes up to this one are in `rules`, or newer ones. */
  revision: number;
  usedAt: number;
}

/** A load under way; `stale` when a rule changed meanwhile. */
interface Loading {
  stale: boolean;
  readonly loaded: Promise<Loaded>;
}

/**
 * The compiled rules of all workspaces, in memory: loaded before the module takes work, refreshed by each change,
 * loaded again when a workspace that had to make room is asked for. It may be behind the database: whoever acts
 * on a rule confirms its version in the transaction. Where other processes may change the database, each use first
 * reads what has changed since the last one: a hint that got lost would be an automation that never fires.
 */
@injectable()
export class RuleIndex implements Lifecycle {
  readonly #store: Store<TriggerTables>;
  readonly #capacity: number;
  readonly #loaded = new Map<string, Loaded>();
  readonly #loading = new Map<string, Loading>();
  readonly #life: StartStop;
  #uses = 0;

  constructor(@inject(Store) store: Store<TriggerTables>, @inject(Settings) settings: TriggerSettings, @inject(Metrics) metrics: Metrics) {
    this.#store = store;
    this.#capacity = settings.rulesInMemory;
    this.#life = new StartStop(() => this.#warmUp(), () => {});
    metrics.gauge('trigger_rules_in_memory', 'Compiled automations held in memory.', () => this.#held());
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  /** The workspace's rules, with every change that was committed before this is asked; at once when they are in memory and nobody else changes them. */
  of(workspace: string): WorkspaceRules | Promise<WorkspaceRules> {
    const loaded = this.#loaded.get(workspace);
    if (this.#store.capabilities.shared) return this.#newest(workspace, loaded);
    if (loaded === undefined) return this.#load(workspace).then(({ rules }) => rules);
    loaded.usedAt = ++this.#uses;
    return loaded.rules;
  }

  /** To be called after the commit of a change. */
  async refresh(workspace: string, automationId: string): Promise<void> {
    const loading = this.#loading.get(workspace);
    if (loading !== undefined) loading.stale = true;
    const [row] = await this.#store.run(liveRule, { workspace, id: automationId });
    const rules = this.#loaded.get(workspace)?.rules;
    if (row === undefined) rules?.remove(automationId);
    else rules?.put(toLiveRule(row));
  }

  async #newest(workspace: string, known: Loaded | undefined): Promise<WorkspaceRules> {
    const loaded = known ?? (await this.#load(workspace));
    loaded.usedAt = ++this.#uses;
    for (;;) {
      const rows = await this.#store.run(changedSince, { workspace, revision: loaded.revision, limit: LOAD_ROWS });
      for (const row of rows) {
        if (row.enabled === 1) loaded.rules.put(toLiveRule(row));
        else loaded.rules.remove(row.id);
        loaded.revision = row.revision;
      }
      if (rows.length < LOAD_ROWS) return loaded.rules;
      await nextTurn();
    }
  }

  async #warmUp(): Promise<void> {
    let after = '';
    while (this.#held() < this.#capacity) {
      const [next] = await this.#store.run(workspacesAfter, { after });
      if (next === undefined) return;
      after = next.workspace;
      await this.of(after);
    }
  }

  #load(workspace: string): Promise<Loaded> {
    const known = this.#loading.get(workspace);
    if (known !== undefined) return known.loaded;
    const loading: Loading = { stale: false, loaded: Promise.resolve().then(() => this.#fill(workspace, loading)) };
    this.#loading.set(workspace, loading);
    return loading.loaded;
  }

  async #fill(workspace: string, loading: Loading): Promise<Loaded> {
    try {
      let loaded: Loaded;
      do {
        loading.stale = false;
        loaded = await this.#read(workspace);
      } while (loading.stale);
      loaded.usedAt = ++this.#uses;
      this.#loaded.set(workspace, loaded);
      this.#makeRoom(workspace);
      return loaded;
    } finally {
      this.#loading.delete(workspace);
    }
  }

  async #read(workspace: string): Promise<Loaded> {
    const [last] = await this.#store.run(lastRevision, { workspace });
    const rules = new WorkspaceRules();
    for (let after = ''; ; await nextTurn()) {
      const rows = await this.#store.run(liveRulesAfter, { workspace, after, limit: LOAD_ROWS });
      for (const row of rows) rules.put(toLiveRule(row));
      if (rows.length < LOAD_ROWS) return { rules, revision: last?.revision ?? 0, usedAt: 0 };
      after = rows.at(-1)!.id;
    }
  }

  #makeRoom(keep: string): void {
    while (this.#held() > this.#capacity && this.#loaded.size > 1) {
      let oldest: [string, Loaded] | undefined;
      for (const entry of this.#loaded) {
        if (entry[0] !== keep && (oldest === undefined || entry[1].usedAt < oldest[1].usedAt)) oldest = entry;
      }
      this.#loaded.delete(oldest![0]);
    }
  }

  /** A workspace without automations counts as one rule. */
  #held(): number {
    let held = 0;
    for (const { rules } of this.#loaded.values()) held += Math.max(rules.size, 1);
    return held;
  }
}
