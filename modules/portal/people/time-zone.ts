/** Making a formatter takes 50 µs, and the same few zones come again and again. */
const known = new Map<string, boolean>();
const MOST_KNOWN = 1_000;
const LONGEST = 64;

/** Whether the value is a name of the IANA time zone database, e.g. `America/New_York`. Offsets such as `+02:00` are not. */
export function isTimeZone(value: unknown): value is string {
  if (typeof value !== 'string' || value.length > LONGEST || !/^[A-Za-z]/.test(value)) return false;
  const held = known.get(value);
  if (held !== undefined) return held;
  const valid = exists(value);
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(value, valid);
  return valid;
}

function exists(timeZone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone });
    return true;
  } catch {
    return false;
  }
}
