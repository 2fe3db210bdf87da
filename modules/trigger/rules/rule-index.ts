import { setImmediate as nextTurn } from 'node:timers/promises';
import { inject, injectable } from 'inversify';
import { type Lifecycle, StartStop } from '../../../src/kernel/lifecycle.ts';
import { Settings } from '../../../src/kernel/module.ts';
import { Metrics } from '../../../src/kernel/telemetry.ts';
import { Store } from '../../../src/ports/storage.ts';
import { liveRule, liveRulesAfter, workspacesAfter } from '../automations/automation-statements.ts';
import type { TriggerSettings } from '../settings.ts';
import type { TriggerTables } from '../tables.ts';
import { toLiveRule } from './live-rule.ts';
import { WorkspaceRules } from './workspace-rules.ts';

/** Rules compiled between two turns of the event loop, some 50 µs each. */
const LOAD_ROWS = 100;

interface Loaded {
  readonly rules: WorkspaceRules;
  usedAt: number;
}

/** A load under way; `stale` when a rule changed meanwhile. */
interface Loading {
  stale: boolean;
  readonly rules: Promise<WorkspaceRules>;
}

/**
 * The compiled rules of all workspaces, in memory: loaded before the module takes work, refreshed by each change,
 * loaded again when a workspace that had to make room is asked for. It may be behind the database: whoever acts
 * on a rule confirms its version in the transaction.
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

  /** The workspace's rules; at once when they are in memory. */
  of(workspace: string): WorkspaceRules | Promise<WorkspaceRules> {
    const loaded = this.#loaded.get(workspace);
    if (loaded === undefined) return (this.#loading.get(workspace) ?? this.#load(workspace)).rules;
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

  async #warmUp(): Promise<void> {
    let after = '';
    while (this.#held() < this.#capacity) {
      const [next] = await this.#store.run(workspacesAfter, { after });
      if (next === undefined) return;
      after = next.workspace;
      await this.of(after);
    }
  }

  #load(workspace: string): Loading {
    const loading: Loading = { stale: false, rules: Promise.resolve().then(() => this.#fill(workspace, loading)) };
    this.#loading.set(workspace, loading);
    return loading;
  }

  async #fill(workspace: string, loading: Loading): Promise<WorkspaceRules> {
    try {
      let rules: WorkspaceRules;
      do {
        loading.stale = false;
        rules = await this.#read(workspace);
      } while (loading.stale);
      this.#loaded.set(workspace, { rules, usedAt: ++this.#uses });
      this.#makeRoom(workspace);
      return rules;
    } finally {
      this.#loading.delete(workspace);
    }
  }

  async #read(workspace: string): Promise<WorkspaceRules> {
    const rules = new WorkspaceRules();
    for (let after = ''; ; await nextTurn()) {
      const rows = await this.#store.run(liveRulesAfter, { workspace, after, limit: LOAD_ROWS });
      for (const row of rows) rules.put(toLiveRule(row));
      if (rows.length < LOAD_ROWS) return rules;
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
