import type { Condition } from '../../modules/trigger/contract.ts';
import type { PersonFacts, Properties } from '../../src/kernel/conditions/field.ts';
import { type LiveRule, compileRule } from '../../modules/trigger/rules/live-rule.ts';
import { WorkspaceRules } from '../../modules/trigger/rules/workspace-rules.ts';
import type { BenchRow } from './report.ts';

const RULES = 1_000;
const CANDIDATES = 20;
const NAMES = RULES / CANDIDATES;
const EVENTS = 64;
const ROUNDS = 7;
const ROUND_MS = 150;

type Happening = { readonly name: string; readonly properties: Properties; readonly person: PersonFacts };

/** Events through 1,000 automations of four conditions each, of which 20 match by name: indexed, all in turn, and written by hand. */
export async function benchRules(): Promise<BenchRow[]> {
  const rules = Array.from({ length: RULES }, (_, i) => liveRule(i));
  const indexed = new WorkspaceRules();
  for (const rule of rules) indexed.put(rule);
  const byHand = new Map(Array.from({ length: NAMES }, (_, name) => [`event ${name}`, handWritten(name)]));
  const events = Array.from({ length: EVENTS }, (_, i) => happening(i));
  // Each counts its matches, so that nothing can be left out as unused; all three must agree.
  const ways = {
    indexed: (e: Happening) => indexed.matching(e.name, e.properties, e.person).length,
    all: (e: Happening) => rules.reduce((n, rule) => n + Number(rule.rule.event === e.name && rule.when(e.properties, e.person)), 0),
    byHand: (e: Happening) => byHand.get(e.name)!.reduce((n, matches) => n + Number(matches(e.properties, e.person)), 0),
  };
  for (const event of events) {
    const counts = Object.values(ways).map((way) => way(event));
    if (new Set(counts).size !== 1) throw new Error(`The ways differ: ${counts.join(', ')}.`);
  }
  const rates: Record<keyof typeof ways, number[]> = { indexed: [], all: [], byHand: [] };
  for (let round = 0; round < ROUNDS; round++) {
    for (const way of Object.keys(ways) as (keyof typeof ways)[]) rates[way].push(eventsPerSecond(events, ways[way]));
  }
  return [
    { name: 'rules.1000-of-which-20-by-name', value: median(rates.indexed), unit: 'events/s', aim: 200_000, limit: median(rates.byHand), note: 'limit: the same 20 as hand-written functions' },
    { name: 'rules.1000-each-asked', value: median(rates.all), unit: 'events/s', note: 'names compared one by one' },
  ];
}

function liveRule(i: number): LiveRule {
  const when: Condition = {
    all: [
      { field: 'event.amount', op: 'gt', value: (i * 7) % 100 },
      { any: [{ field: 'person.plan', op: 'in', value: ['gold', 'silver'] }, { field: 'person.address.city', op: 'eq', value: 'Bern' }] },
      { field: 'event.currency', op: 'ne', value: 'EUR' },
    ],
  };
  const rule = { event: `event ${i % NAMES}`, when, waitMs: 0, still: null, send: { templateId: 't', channel: 'email' }, reentry: { kind: 'every_time' as const } };
  return { automationId: `a${i}`, version: 1, epoch: 1, ...compileRule(rule) };
}

function handWritten(name: number): ((event: any, person: any) => boolean)[] {
  return Array.from({ length: CANDIDATES }, (_, k) => {
    const least = ((name + k * NAMES) * 7) % 100;
    return (event, person) =>
      typeof event.amount === 'number' &&
      event.amount > least &&
      (person.attributes.plan === 'gold' || person.attributes.plan === 'silver' || person.attributes.address?.city === 'Bern') &&
      event.currency !== 'EUR';
  });
}

function happening(i: number): Happening {
  return {
    name: `event ${(i * 13) % NAMES}`,
    properties: { amount: (i * 37) % 100, currency: i % 3 === 0 ? 'EUR' : 'CHF', order: `o-${i}`, items: [{ sku: `s${i}`, count: 1 }] },
    person: { email: `p${i}@example.org`, timeZone: 'Europe/Zurich', attributes: { plan: ['gold', 'none', 'silver', 'free'][i % 4]!, address: { city: i % 5 === 0 ? 'Bern' : 'Basel' }, age: i } },
  };
}

/** Per second of CPU time, since others use the machine, too. */
function eventsPerSecond(events: readonly Happening[], way: (event: Happening) => number): number {
  let done = 0;
  let matches = 0;
  const before = process.cpuUsage();
  let seconds = 0;
  while (seconds * 1_000 < ROUND_MS) {
    for (let i = 0; i < 10; i++) for (const event of events) matches += way(event);
    done += 10 * events.length;
    const { user, system } = process.cpuUsage(before);
    seconds = (user + system) / 1e6;
  }
  if (matches === 0) throw new Error('Nothing matched.');
  return done / seconds;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
