import { inject, injectable } from 'inversify';
import { Fault } from '../../../src/kernel/fault.ts';
import { type StorageTransaction, Store } from '../../../src/ports/storage.ts';
import { ruleOfVersion } from '../automations/automation-statements.ts';
import type { AutomationRule } from '../contract.ts';
import type { TriggerTables } from '../tables.ts';
import { type CompiledRule, compileRule } from './live-rule.ts';

const KEPT = 2_000;

/** Compiled rules by version, which never change: a run ends by the rule that it began with. */
@injectable()
export class VersionRules {
  readonly #store: Store<TriggerTables>;
  readonly #kept = new Map<string, CompiledRule>();

  constructor(@inject(Store) store: Store<TriggerTables>) {
    this.#store = store;
  }

  /** Fault `internal` when the version is not there, which no order of events brings about. */
  async get(tx: StorageTransaction<TriggerTables>, workspace: string, automationId: string, version: number): Promise<CompiledRule> {
    const key = JSON.stringify([workspace, automationId, version]);
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept;
    const which = { workspace, id: automationId, version };
    // What is not committed yet may still become another rule: it is used, not kept.
    const [committed] = await this.#store.run(ruleOfVersion, which);
    const row = committed ?? (await tx.run(ruleOfVersion, which))[0];
    if (row === undefined) throw new Fault('internal', 'A run names a version that does not exist.', { reason: 'version_missing' });
    const compiled = compileRule(JSON.parse(row.rule) as AutomationRule);
    if (committed !== undefined) this.#keep(key, compiled);
    return compiled;
  }

  #keep(key: string, compiled: CompiledRule): void {
    this.#kept.set(key, compiled);
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value!);
  }
}
