import type { Chance } from './chance.ts';

/** A customer of the agency, invented. Addresses are of domains that RFC 2606 keeps for examples: no mail can arrive. */
export interface Customer {
  readonly userId: string;
  readonly traits: {
    readonly email: string;
    readonly firstName: string;
    readonly lastName: string;
    readonly timeZone: string;
    readonly address: { readonly city: string; readonly state: string };
    readonly agent: string;
    readonly policies: readonly Policy[];
    /** The soonest of them, `YYYY-MM-DD`. */
    readonly renewalDate: string;
    readonly customerSince: number;
    readonly emailConsent: 'granted' | 'denied' | 'unknown';
  };
}

export interface Policy {
  readonly number: string;
  readonly line: string;
  readonly premium: number;
  readonly renewalDate: string;
}

const FIRST_NAMES = ['Aisha', 'Alice', 'Ana', 'Ben', 'Carlos', 'Chloe', 'Daniel', 'Deepa', 'Elena', 'Ethan', 'Fatima', 'Grace', 'Hannah', 'Hiro', 'Ines', 'Jack', 'José', 'Kayla', 'Leila', 'Liam', 'Maria', 'Mateo', 'Mei', 'Noah', 'Olivia', 'Omar', 'Priya', 'Quinn', 'Rosa', 'Samir', 'Sofía', 'Thomas', 'Uma', 'Victor', 'Wanda', 'Yusuf', 'Zoë'];
const LAST_NAMES = ['Adams', 'Alvarez', 'Baker', 'Brooks', 'Chen', 'Cohen', 'Diaz', 'Evans', 'Fischer', 'Garcia', 'Hayes', 'Ibrahim', 'Jackson', 'Kim', 'Kowalski', 'Lopez', 'Martin', 'Müller', 'Nguyen', "O'Brien", 'Okafor', 'Patel', 'Quintero', 'Reyes', 'Rossi', 'Sato', 'Schmidt', 'Silva', 'Tanaka', 'Turner', 'Ueda', 'Vargas', 'Walker', 'Xu', 'Young', 'Zimmermann'];
const PLACES = [
  { city: 'Tampa', state: 'FL', timeZone: 'America/New_York' },
  { city: 'Atlanta', state: 'GA', timeZone: 'America/New_York' },
  { city: 'Houston', state: 'TX', timeZone: 'America/Chicago' },
  { city: 'Omaha', state: 'NE', timeZone: 'America/Chicago' },
  { city: 'Denver', state: 'CO', timeZone: 'America/Denver' },
  { city: 'Phoenix', state: 'AZ', timeZone: 'America/Phoenix' },
  { city: 'San Diego', state: 'CA', timeZone: 'America/Los_Angeles' },
  { city: 'Honolulu', state: 'HI', timeZone: 'Pacific/Honolulu' },
];
const LINES = [
  { line: 'Auto', least: 480, most: 2_200 },
  { line: 'Home', least: 700, most: 3_800 },
  { line: 'Renters', least: 120, most: 420 },
  { line: 'Life', least: 240, most: 1_600 },
  { line: 'Umbrella', least: 150, most: 500 },
];
const AGENTS = ['Dana Whitfield', 'Marcus Bell', 'Renee Castillo'];
const DAY_MS = 86_400_000;

/** The same customers for the same seed and day. */
export function customersOf(chance: Chance, count: number, today: number): Customer[] {
  return Array.from({ length: count }, (_, index) => customer(chance, index + 1, today));
}

function customer(chance: Chance, number: number, today: number): Customer {
  const [firstName, lastName] = [chance.pick(FIRST_NAMES), chance.pick(LAST_NAMES)];
  const { timeZone, ...address } = chance.pick(PLACES);
  const policies = Array.from({ length: chance.pick([1, 1, 1, 2, 2, 3]) }, () => policy(chance, today));
  const userId = `cust-${String(number).padStart(4, '0')}`;
  return {
    userId,
    traits: {
      email: `${ascii(firstName)}.${ascii(lastName)}.${number}@${chance.pick(['example.com', 'example.org', 'example.net'])}`,
      firstName,
      lastName,
      timeZone,
      address,
      agent: chance.pick(AGENTS),
      policies,
      renewalDate: policies.map(({ renewalDate }) => renewalDate).sort()[0]!,
      customerSince: chance.between(2004, 2025),
      emailConsent: chance.pick(['granted', 'granted', 'granted', 'granted', 'granted', 'granted', 'unknown', 'unknown', 'unknown', 'denied']),
    },
  };
}

function policy(chance: Chance, today: number): Policy {
  const { line, least, most } = chance.pick(LINES);
  return {
    number: `${line.slice(0, 2).toUpperCase()}-${chance.between(100_000, 999_999)}`,
    line,
    premium: chance.between(least, most),
    renewalDate: new Date(today + chance.between(3, 364) * DAY_MS).toISOString().slice(0, 10),
  };
}

function ascii(name: string): string {
  return name.normalize('NFD').replace(/[^A-Za-z]/g, '').toLowerCase();
}

/** Something that a customer does. */
export interface Happening {
  readonly userId: string;
  readonly event: string;
  readonly properties: Readonly<Record<string, string | number>>;
}

/** What happens next at the agency; quotes more often than claims. */
export function nextHappening(chance: Chance, customers: readonly Customer[]): Happening {
  const { userId, traits } = chance.pick(customers);
  const policy = chance.pick(traits.policies);
  const kind = chance.next();
  if (kind < 0.4) return { userId, event: 'Quote Requested', properties: { line: chance.pick(LINES).line, estimate: chance.between(180, 4_000), source: chance.pick(['website', 'phone', 'referral']) } };
  if (kind < 0.6) return { userId, event: 'Claim Opened', properties: { claimNumber: `C-${chance.between(10_000, 99_999)}`, policy: policy.number, cause: chance.pick(['hail', 'collision', 'water damage', 'theft', 'wind']) } };
  if (kind < 0.8) return { userId, event: 'Renewal Window Opened', properties: { policy: policy.number, line: policy.line, premium: policy.premium, renewalDate: policy.renewalDate } };
  if (kind < 0.9) return { userId, event: 'Quote Accepted', properties: { line: policy.line, premium: policy.premium } };
  return { userId, event: 'Document Viewed', properties: { policy: policy.number, document: chance.pick(['declarations page', 'ID card', 'invoice']) } };
}
