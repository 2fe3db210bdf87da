import type { EpochMs } from '../../../src/kernel/clock.ts';

/** ISO 8601 as senders write it; the zone may be missing and then is UTC. */
const TIMESTAMP = /^\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?\s?(Z|z|[+-]\d\d(?::?\d\d)?)?)?$/;
/** Earlier ones are seconds taken for milliseconds, or a zero that nobody set. */
const EARLIEST: EpochMs = Date.UTC(2000, 0, 1);
/** A time without its zone is up to 14 hours ahead; more is no clock. */
const FURTHEST_AHEAD_MS = 86_400_000;
/** What a request takes on its way, or waits for a retry; a difference beyond is a clock that is wrong. */
const TRAVEL_MS = 10_000;

export type TimeProblem = 'timestamp_invalid' | 'timestamp_out_of_range';

/**
 * When an event happened, at most `receivedAt`: `timestamp` by its sender's clock, corrected where that clock
 * (`sentAt`) is off by more than a request takes. Without a timestamp it happened when it arrived.
 */
export function eventTime(timestamp: unknown, sentAt: unknown, receivedAt: EpochMs): EpochMs | TimeProblem {
  if (timestamp === undefined || timestamp === null || timestamp === '') return receivedAt;
  const said = parseTime(timestamp);
  if (said === undefined) return 'timestamp_invalid';
  const sent = sentAt === undefined ? undefined : parseTime(sentAt);
  const skew = sent === undefined ? 0 : receivedAt - sent;
  const time = Math.abs(skew) > TRAVEL_MS ? said + skew : said;
  if (said < EARLIEST || time < EARLIEST || time > receivedAt + FURTHEST_AHEAD_MS) return 'timestamp_out_of_range';
  return Math.min(time, receivedAt);
}

function parseTime(value: unknown): EpochMs | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? Math.trunc(value) : undefined;
  if (typeof value !== 'string' || value.length > 40) return undefined;
  const match = TIMESTAMP.exec(value);
  if (match === null || !isDay(value.slice(0, 10))) return undefined;
  const time = Date.parse(normal(value, match[1]));
  return Number.isNaN(time) ? undefined : time;
}

/** Date.parse takes 31 February for 3 March. */
function isDay(date: string): boolean {
  const day = Number(date.slice(8));
  return day <= 28 || new Date(date).getUTCDate() === day;
}

/** What Date.parse reads the same on every machine. */
function normal(value: string, zone: string | undefined): string {
  if (value.length === 24 && zone === 'Z' && value[10] === 'T') return value;
  if (value.length === 10) return value;
  const text = value.replace(/[t ]/, 'T').replace(',', '.').replace(/\s/g, '');
  if (zone === undefined) return `${text}Z`;
  const end = zone.length === 3 ? `${zone}:00` : zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone.toUpperCase();
  return text.slice(0, text.length - zone.length) + end;
}
