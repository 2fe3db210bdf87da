import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { eventTime } from '../../../../modules/portal/ingest/event-time.ts';

const NOW = Date.UTC(2026, 10, 21, 9, 0, 0);
const iso = (time: number) => new Date(time).toISOString();

describe('the time of an event', () => {
  test('is when it arrived when nothing is said', () => {
    for (const nothing of [undefined, null, '']) assert.equal(eventTime(nothing, undefined, NOW), NOW);
  });

  for (const [text, expected] of [
    ['2026-11-21T08:00:00.000Z', NOW - 3_600_000],
    ['2026-11-21T08:00:00.123456789Z', NOW - 3_600_000 + 123],
    ['2026-11-21T10:00:00+02:00', NOW - 3_600_000],
    ['2026-11-21T10:00:00+0200', NOW - 3_600_000],
    ['2026-11-21 08:00:00', NOW - 3_600_000],
    ['2026-11-21 08:00:00 Z', NOW - 3_600_000],
    ['2026-11-21t08:00z', NOW - 3_600_000],
    ['2026-11-20', Date.UTC(2026, 10, 20)],
    ['2024-02-29', Date.UTC(2024, 1, 29)],
    ['2026-10-31T23:30:00-05:00', Date.UTC(2026, 10, 1, 4, 30)],
  ] as const) {
    test(`reads ${text}`, () => assert.equal(eventTime(text, undefined, NOW), expected));
  }

  test('may be given in milliseconds', () => assert.equal(eventTime(NOW - 5, undefined, NOW), NOW - 5));

  for (const odd of ['NaN', 'tomorrow', '5', '2026-13-01', '2026-02-31T25:00:00Z', '2026-02-31', '2026-02-29T08:00:00Z', '2026-04-31T08:00:00+02:00', {}, [], true, 'x'.repeat(100_000), '2026-11-21T08:00:00Zjunk']) {
    test(`${JSON.stringify(odd).slice(0, 30)} is no time`, () => assert.equal(eventTime(odd, undefined, NOW), 'timestamp_invalid'));
  }

  for (const far of ['1970-01-01T00:00:00Z', '1999-12-31', '9999-12-31T23:59:59Z', 0, -1, Math.floor(NOW / 1000), 8.64e15, iso(NOW + 2 * 86_400_000)]) {
    test(`${far} is out of range`, () => assert.equal(eventTime(far, undefined, NOW), 'timestamp_out_of_range'));
  }

  test('is never later than its arrival', () => assert.equal(eventTime(iso(NOW + 3_600_000), undefined, NOW), NOW));

  test('is corrected by as much as the clock of its sender is wrong', () => {
    assert.equal(eventTime(iso(NOW - 7_200_000 - 60_000), iso(NOW - 7_200_000), NOW), NOW - 60_000);
    assert.equal(eventTime(iso(NOW + 7_200_000 - 60_000), iso(NOW + 7_200_000), NOW), NOW - 60_000);
  });

  test('is not moved by the time that a request travels', () => {
    assert.equal(eventTime(iso(NOW - 60_000), iso(NOW - 900), NOW), NOW - 60_000);
  });
});
