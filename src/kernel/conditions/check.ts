import { Fault, type FaultDetails, type Json } from '../fault.ts';
import type { Condition } from './condition.ts';

/** One level is one of `all`, `any`, `not` or a comparison. */
const MAX_DEPTH = 10;
const MAX_LEAVES = 200;
const MAX_LIST = 1_000;
/** Of a text that is searched for: from 251 characters on, V8's search can take a hundred milliseconds in a text of 32 KB. */
const MAX_PART = 200;
/** Lists and objects within a comparison's value. */
const MAX_VALUE_DEPTH = 10;

export interface ConditionProblem extends FaultDetails {
  /** Where, e.g. `rule.when.all[1].value`. */
  readonly path: string;
  readonly problem: string;
  readonly remedy: string;
}

/** What in a condition would not mean anything, or would cost too much whenever it is asked; none when it may be compiled. */
export function problemsOfCondition(condition: Condition, path: string): readonly ConditionProblem[] {
  const check = new ConditionCheck();
  check.condition(condition, path);
  return check.problems;
}

/** Nothing where there are none. @throws Fault `invalid` with this reason; details.problems names each path and what to do (the first 20). */
export function refuseProblems([first, ...more]: readonly ConditionProblem[], reason: string): void {
  if (first !== undefined) throw new Fault('invalid', `${first.path} ${first.problem}. ${first.remedy}`, { reason, details: { problems: [first, ...more.slice(0, 19)] } });
}

class ConditionCheck {
  readonly problems: ConditionProblem[] = [];
  #leaves = 0;

  condition(root: Condition, path: string): void {
    this.#visit(root, path, 1);
    if (this.#leaves > MAX_LEAVES) this.#add(path, `holds more than ${MAX_LEAVES} comparisons`, 'Use `in` with a list in place of many `eq`, or split it in two.');
  }

  #add(path: string, problem: string, remedy: string): void {
    this.problems.push({ path, problem, remedy });
  }

  #visit(node: Condition, path: string, depth: number): void {
    if (depth > MAX_DEPTH) return this.#add(path, `lies deeper than ${MAX_DEPTH} levels`, 'Merge nested `all` and `any`, or split it in two.');
    if (this.#leaves > MAX_LEAVES) return;
    const kinds = (['field', 'all', 'any', 'not'] as const).filter((kind) => Object.hasOwn(node, kind));
    if (kinds.length !== 1) return this.#add(path, 'is not one comparison, `all`, `any` or `not`', 'Give exactly one of field, all, any, not.');
    if ('all' in node) node.all.forEach((inner, i) => this.#visit(inner, `${path}.all[${i}]`, depth + 1));
    else if ('any' in node) node.any.forEach((inner, i) => this.#visit(inner, `${path}.any[${i}]`, depth + 1));
    else if ('not' in node) this.#visit(node.not, `${path}.not`, depth + 1);
    else this.#comparison(node, path);
  }

  #comparison({ op, value }: Extract<Condition, { field: string }>, path: string): void {
    this.#leaves++;
    const at = `${path}.value`;
    if (op === 'exists' || op === 'missing') {
      if (value !== undefined) this.#add(at, `has no meaning with \`${op}\``, 'Leave it out.');
      return;
    }
    if (value === undefined) return this.#add(at, 'is missing', `Give what \`${op}\` compares with.`);
    if (value === null) return this.#add(at, 'is null, which stands for no value', 'Use `missing` or `exists`.');
    if (deeperThan(value, MAX_VALUE_DEPTH)) return this.#add(at, `is nested deeper than ${MAX_VALUE_DEPTH} levels`, 'Compare a field that lies deeper with a simpler value.');
    this.#fits(op, value, at);
  }

  #fits(op: Extract<Condition, { field: string }>['op'], value: Json, at: string): void {
    if (op === 'in') {
      if (!Array.isArray(value)) this.#add(at, 'is not a list', 'Give the allowed values as a list, or use `eq`.');
      else if (value.length > MAX_LIST) this.#add(at, `holds more than ${MAX_LIST} values`, 'Mark these persons by an attribute and ask for that.');
      else if (value.includes(null)) this.#add(at, 'holds null, which stands for no value', 'Take it out and use `missing` beside it.');
    } else if (op === 'contains' && typeof value === 'string' && value.length > MAX_PART) {
      this.#add(at, `has ${value.length} characters, more than ${MAX_PART}`, `Search for a shorter part, or use \`eq\`, \`starts_with\` or \`ends_with\`, which take texts of any length.`);
    } else if ((op === 'starts_with' || op === 'ends_with') && typeof value !== 'string') {
      this.#add(at, 'is not a text', `Give the text that the field ${op === 'starts_with' ? 'starts' : 'ends'} with.`);
    } else if (['gt', 'gte', 'lt', 'lte'].includes(op) && typeof value !== 'number' && typeof value !== 'string') {
      this.#add(at, 'is neither a number nor a text', 'Only numbers and texts have an order.');
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
