import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Condition } from '../../../modules/trigger/contract.ts';
import { checkRule } from '../../../modules/trigger/rules/check.ts';
import type { Fault } from '../../../src/kernel/fault.ts';
import { rule } from '../../support/trigger-rig.ts';

const eq = (value?: string): Condition => ({ field: 'event.a', op: 'eq', ...(value !== undefined && { value }) });

test('a rule that is too long is refused, and each part by its own path', () => {
  const refusals: [Parameters<typeof rule>[0], string][] = [[{ when: eq('x'.repeat(100_000)) }, 'rule'], [{ when: eq() }, 'rule.when.value'], [{ still: eq() }, 'rule.still.value']];
  for (const [change, path] of refusals) {
    assert.throws(() => checkRule(rule(change)), (fault: Fault) => {
      assert.deepEqual([fault.code, fault.reason, (fault.details.problems as { path: string }[])[0]!.path], ['invalid', 'rule_invalid', path]);
      return true;
    });
  }
});
