import type { PersonFacts, Properties } from '../../../src/kernel/conditions/field.ts';
import type { LiveRule } from './live-rule.ts';

const NO_RULES: readonly LiveRule[] = [];

/** The automations of one workspace that are on, by the event that they wait for: what others wait for costs nothing. */
export class WorkspaceRules {
  readonly #byEvent = new Map<string, LiveRule[]>();
  readonly #byId = new Map<string, LiveRule>();

  get size(): number {
    return this.#byId.size;
  }

  /** Adds the rule, or puts it in the place of another version. */
  put(rule: LiveRule): void {
    this.remove(rule.automationId);
    this.#byId.set(rule.automationId, rule);
    const same = this.#byEvent.get(rule.rule.event);
    if (same === undefined) this.#byEvent.set(rule.rule.event, [rule]);
    else same.push(rule);
  }

  remove(automationId: string): void {
    const rule = this.#byId.get(automationId);
    if (rule === undefined) return;
    this.#byId.delete(automationId);
    const left = this.#byEvent.get(rule.rule.event)!.filter((other) => other !== rule);
    if (left.length === 0) this.#byEvent.delete(rule.rule.event);
    else this.#byEvent.set(rule.rule.event, left);
  }

  /** Those whose event this is and whose `when` holds. */
  matching(name: string, properties: Properties, person: PersonFacts): readonly LiveRule[] {
    const candidates = this.#byEvent.get(name);
    if (candidates === undefined) return NO_RULES;
    let found: LiveRule[] | undefined;
    for (const rule of candidates) {
      if (rule.when(properties, person)) (found ??= []).push(rule);
    }
    return found ?? NO_RULES;
  }
}
