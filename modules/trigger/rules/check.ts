import { Fault, type FaultDetails, type Json } from '../../../src/kernel/fault.ts';
import type { AutomationRule, Condition } from '../contract.ts';

/** One level is one of `all`, `any`, `not` or a comparison. */
const MAX_DEPTH = 10;
const MAX_LEAVES = 200;
const MAX_LIST = 1_000;
/** Lists and objects within a comparison's value. */
const MAX_VALUE_DEPTH = 10;
const MAX_RULE_CHARACTERS = 100_000;

interface Problem extends FaultDetails {
  /** Where, e.g. `rule.when.all[1].value`. */
  readonly path: string;
  readonly problem: string;
  readonly remedy: string;
}

/**
 * Refuses what would not mean anything, or would cost too much for every event to come.
 * @throws Fault `invalid`/`rule_invalid`; details.problems names each path and what to do (the first 20).
 */
export function checkRule(rule: AutomationRule): void {
  const check = new RuleCheck();
  for (const part of ['when', 'still'] as const) {
    const condition = rule[part];
    if (condition !== null) check.condition(condition, `rule.${part}`);
  }
  const { problems } = check;
  if (problems.length === 0 && JSON.stringify(rule).length > MAX_RULE_CHARACTERS) {
    check.add('rule', `is longer than ${MAX_RULE_CHARACTERS} characters as JSON`, 'Use shorter values, or several automations.');
  }
  if (problems.length === 0) return;
  const [first] = problems;
  throw new Fault('invalid', `${first!.path} ${first!.problem}. ${first!.remedy}`, { reason: 'rule_invalid', details: { problems: problems.slice(0, 20) } });
}

class RuleCheck {
  readonly problems: Problem[] = [];
  #leaves = 0;

  add(path: string, problem: string, remedy: string): void {
    this.problems.push({ path, problem, remedy });
  }

  condition(root: Condition, path: string): void {
    this.#leaves = 0;
    this.#visit(root, path, 1);
    if (this.#leaves > MAX_LEAVES) this.add(path, `holds more than ${MAX_LEAVES} comparisons`, 'Use `in` with a list in place of many `eq`, or several automations.');
  }

  #visit(node: Condition, path: string, depth: number): void {
    if (depth > MAX_DEPTH) return this.add(path, `lies deeper than ${MAX_DEPTH} levels`, 'Merge nested `all` and `any`, or use several automations.');
    if (this.#leaves > MAX_LEAVES) return;
    const kinds = (['field', 'all', 'any', 'not'] as const).filter((kind) => Object.hasOwn(node, kind));
    if (kinds.length !== 1) return this.add(path, 'is not one comparison, `all`, `any` or `not`', 'Give exactly one of field, all, any, not.');
    if ('all' in node) node.all.forEach((inner, i) => this.#visit(inner, `${path}.all[${i}]`, depth + 1));
    else if ('any' in node) node.any.forEach((inner, i) => this.#visit(inner, `${path}.any[${i}]`, depth + 1));
    else if ('not' in node) this.#visit(node.not, `${path}.not`, depth + 1);
    else this.#comparison(node, path);
  }

  #comparison({ op, value }: Extract<Condition, { field: string }>, path: string): void {
    this.#leaves++;
    const at = `${path}.value`;
    if (op === 'exists' || op === 'missing') {
      if (value !== undefined) this.add(at, `has no meaning with \`${op}\``, 'Leave it out.');
      return;
    }
    if (value === undefined) return this.add(at, 'is missing', `Give what \`${op}\` compares with.`);
    if (value === null) return this.add(at, 'is null, which stands for no value', 'Use `missing` or `exists`.');
    if (deeperThan(value, MAX_VALUE_DEPTH)) return this.add(at, `is nested deeper than ${MAX_VALUE_DEPTH} levels`, 'Compare a field that lies deeper with a simpler value.');
    this.#fits(op, value, at);
  }

  #fits(op: Extract<Condition, { field: string }>['op'], value: Json, at: string): void {
    if (op === 'in') {
      if (!Array.isArray(value)) this.add(at, 'is not a list', 'Give the allowed values as a list, or use `eq`.');
      else if (value.length > MAX_LIST) this.add(at, `holds more than ${MAX_LIST} values`, 'Mark these persons by an attribute and ask for that.');
      else if (value.includes(null)) this.add(at, 'holds null, which stands for no value', 'Take it out and use `missing` beside it.');
    } else if ((op === 'starts_with' || op === 'ends_with') && typeof value !== 'string') {
      this.add(at, 'is not a text', `Give the text that the field ${op === 'starts_with' ? 'starts' : 'ends'} with.`);
    } else if (['gt', 'gte', 'lt', 'lte'].includes(op) && typeof value !== 'number' && typeof value !== 'string') {
      this.add(at, 'is neither a number nor a text', 'Only numbers and texts have an order.');
    }
  }
}

/** Without recursion: the value comes from outside and may be nested a hundred thousand deep. */
function deeperThan(value: Json, levels: number): boolean {
  let level: Json[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > levels) return true;
    level = level.flatMap((one): Json[] => (typeof one === 'object' && one !== null ? Object.values(one) : []));
  }
  return false;
}
