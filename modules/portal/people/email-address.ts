const LONGEST = 254;
/** One `@`, something before it, a domain with no space, quote, comma, angle bracket or control character anywhere. */
const FORM = /^[^\s@<>(),;:"\\[\]\u0000-\u001f\u007f]{1,64}@[^\s@<>(),;:"\\[\]\u0000-\u001f\u007f.]+(?:\.[^\s@<>(),;:"\\[\]\u0000-\u001f\u007f.]+)+$/u;

/**
 * Whether mail could be sent there. Narrower than RFC 5321 (no quoted local parts, no address literals): what such an
 * address could smuggle into a header is worth more than the handful of people who have one.
 */
export function isEmail(value: unknown): value is string {
  return typeof value === 'string' && value.length <= LONGEST && FORM.test(value);
}
