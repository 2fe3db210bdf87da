import { type Predicate, compileCondition } from '../../../src/kernel/conditions/predicate.ts';
import type { AutomationRule } from '../contract.ts';

/** A version of an automation's rule, ready to run. */
export interface CompiledRule {
  readonly rule: AutomationRule;
  readonly when: Predicate;
  /** Null is always. */
  readonly still: Predicate | null;
}

/** As the database has it. */
export interface LiveRuleRow {
  readonly id: string;
  readonly version: number;
  readonly epoch: number;
  /** JSON of an AutomationRule. */
  readonly rule: string;
}

/** The rule that an automation which is on follows now. */
export interface LiveRule extends CompiledRule {
  readonly automationId: string;
  readonly version: number;
  readonly epoch: number;
}

const always: Predicate = () => true;

/** Compiles a rule that `checkRule` has passed. */
export function compileRule(rule: AutomationRule): CompiledRule {
  return { rule, when: rule.when === null ? always : compileCondition(rule.when), still: rule.still === null ? null : compileCondition(rule.still) };
}

export function toLiveRule({ id, version, epoch, rule }: LiveRuleRow): LiveRule {
  return { automationId: id, version, epoch, ...compileRule(JSON.parse(rule) as AutomationRule) };
}
