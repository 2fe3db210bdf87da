import type { Condition } from './condition.ts';

/** A text of 32 KB may be gone through for 0.15 ms. */
const SEARCH = 10;
/** The names of an object of 32 KB may be counted for 0.3 ms. */
const STRUCTURE = 20;

/** What asking a condition may cost at worst: a comparison counts 1, `contains` 10, one with lists or objects 20. */
export function costOf(condition: Condition): number {
  if ('all' in condition) return sum(condition.all);
  if ('any' in condition) return sum(condition.any);
  if ('not' in condition) return costOf(condition.not);
  const { op, value } = condition;
  if ((op === 'in' && Array.isArray(value) ? value : [value]).some((one) => typeof one === 'object' && one !== null)) return STRUCTURE;
  return op === 'contains' ? SEARCH : 1;
}

function sum(conditions: readonly Condition[]): number {
  return conditions.reduce((total, one) => total + costOf(one), 0);
}
