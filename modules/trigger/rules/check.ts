import { type ConditionProblem, problemsOfCondition, refuseProblems } from '../../../src/kernel/conditions/check.ts';
import type { AutomationRule } from '../contract.ts';

const MAX_RULE_CHARACTERS = 100_000;

/**
 * Refuses what would not mean anything, or would cost too much for every event to come.
 * @throws Fault `invalid`/`rule_invalid`; details.problems names each path and what to do (the first 20).
 */
export function checkRule(rule: AutomationRule): void {
  const problems: ConditionProblem[] = (['when', 'still'] as const).flatMap((part) => {
    const condition = rule[part];
    return condition === null ? [] : problemsOfCondition(condition, `rule.${part}`);
  });
  if (problems.length === 0 && JSON.stringify(rule).length > MAX_RULE_CHARACTERS) {
    problems.push({ path: 'rule', problem: `is longer than ${MAX_RULE_CHARACTERS} characters as JSON`, remedy: 'Use shorter values, or several automations.' });
  }
  refuseProblems(problems, 'rule_invalid');
}
