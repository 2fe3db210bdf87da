import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { checkBatch, MOST_EVENT_BYTES, MOST_EVENTS, parseBody } from '../../../../modules/portal/ingest/batch.ts';
import type { CallType } from '../../../../modules/portal/ingest/wire-item.ts';
import { readItem } from '../../../../modules/portal/ingest/wire-item.ts';
import { Fault } from '../../../../src/kernel/fault.ts';

const NOW = Date.UTC(2026, 10, 21);
const KEY = `ml_${'k'.repeat(43)}`;
const track = (more: object = {}) => ({ type: 'track', userId: 'u1', event: 'Renewed', messageId: 'm1', ...more });

function check(body: unknown, type: CallType | null = null) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const parsed = parseBody({ text, bytes: Buffer.byteLength(text) });
  const checked = checkBatch(parsed, { type, sentAt: parsed.value.sentAt, receivedAt: NOW }, KEY);
  return { ...checked, stored: checked.json === null ? null : (JSON.parse(checked.json) as { batch: Record<string, unknown>[] }) };
}
const reasonsOf = (body: unknown, type: CallType | null = null) => check(body, type).refused.map((r) => r.reason);

describe('a batch', () => {
  test('that is good is kept as it came, byte by byte', () => {
    const text = ` { "batch" : [ ${JSON.stringify(track())} ], "sentAt":"2026-11-21T00:00:00Z" , "context":{} } `;
    assert.equal(check(text).json, text);
  });

  test('is kept without its write key, wherever that stands', () => {
    const { json, stored } = check({ batch: [track({ writeKey: KEY })], writeKey: KEY });
    assert.ok(!json!.includes(KEY));
    assert.equal(stored!.batch.length, 1);
    const escaped = JSON.stringify({ batch: [track()], writeKey: KEY }).replace('ml_k', 'ml_\\u006b');
    assert.ok(!check(escaped).json!.includes('kkkkk'));
    assert.ok(!check({ batch: [track()], writeKey: 'another-secret' }).json!.includes('another-secret'));
  });

  test('loses its bad items and keeps the good ones', () => {
    const { stored, refused, accepted } = check({ batch: [track(), { type: 'track', messageId: 'm2' }, 'x', track({ event: '', messageId: 'm4' })] });
    assert.equal(accepted, 1);
    assert.equal(stored!.batch.length, 1);
    assert.deepEqual(refused, [
      { index: 1, messageId: 'm2', type: 'track', reason: 'identity_missing' },
      { index: 2, messageId: null, type: null, reason: 'not_an_object' },
      { index: 3, messageId: 'm4', type: 'track', reason: 'event_name_missing' },
    ]);
  });

  test('of a path of its own needs no type, and gets the type of the path', () => {
    const { stored } = check({ userId: 'u1', event: 'Renewed', type: 'alias' }, 'track');
    assert.deepEqual(stored, { batch: [{ userId: 'u1', event: 'Renewed', type: 'alias' }] });
    assert.deepEqual(reasonsOf({ userId: 'u1' }, 'track'), ['event_name_missing']);
  });

  for (const [reason, item] of Object.entries({
    type_unknown: { ...track(), type: 'delete' },
    message_id_invalid: track({ messageId: 'x'.repeat(256) }),
    user_id_invalid: track({ userId: { $ne: null } }),
    identity_missing: { ...track(), userId: '' },
    event_name_invalid: track({ event: 'x'.repeat(201) }),
    properties_invalid: track({ properties: [1] }),
    traits_invalid: { type: 'identify', userId: 'u1', traits: 'x' },
    context_invalid: track({ context: 1 }),
    group_id_missing: { type: 'group', userId: 'u1' },
    previous_id_missing: { type: 'alias', userId: 'u1' },
    event_too_large: track({ properties: { text: 'x'.repeat(MOST_EVENT_BYTES) } }),
    timestamp_invalid: track({ timestamp: 'NaN' }),
    timestamp_out_of_range: track({ timestamp: '9999-12-31T00:00:00Z' }),
  })) {
    test(`refuses ${reason} and nothing else`, () => {
      assert.deepEqual(reasonsOf({ batch: [track(), item] }), [reason]);
    });
  }

  test('takes whole numbers as ids, as SDKs of other languages send them', () => {
    const item = readItem(track({ userId: 4711, messageId: 12 }), { type: null, sentAt: undefined, receivedAt: NOW });
    assert.ok(typeof item === 'object' && item.userId === '4711' && item.messageId === '12');
  });

  test('measures an item in bytes, not in characters', () => {
    const properties = { text: 'é'.repeat(MOST_EVENT_BYTES / 2) };
    assert.deepEqual(reasonsOf({ batch: [track({ properties })] }), ['event_too_large']);
  });

  test('refuses prototypes, depth and numbers that are none, item by item', () => {
    const deep = `{"type":"track","userId":"u","event":"e","properties":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`;
    const body = `{"batch":[${JSON.stringify(track())},{"type":"track","userId":"u","event":"e","properties":{"a":{"__proto__":{"x":1}}}},{"type":"track","userId":"u","event":"e","properties":{"n":1e999}}]}`;
    assert.deepEqual(reasonsOf(body), ['name_forbidden', 'number_out_of_range']);
    assert.equal(check(body).stored!.batch.length, 1);
    assert.deepEqual(reasonsOf(`{"batch":[${deep}]}`), ['too_deep']);
  });

  test('drops what stands beside the items when nobody could read it', () => {
    const text = `{"batch":[${JSON.stringify(track())}],"context":${'['.repeat(1_000)}${']'.repeat(1_000)}}`;
    assert.deepEqual(Object.keys(check(text).stored!), ['batch']);
  });

  test('keeps text that cannot be stored as U+FFFD', () => {
    const text = String.raw`{"batch":[{"type":"track","userId":"u\u0000","event":"\ud83d","properties":{"a\u0000b":"\ud83d\ude00 \udc00"}}]}`;
    assert.deepEqual(check(text).stored!.batch[0], { type: 'track', userId: 'u\ufffd', event: '\ufffd', properties: { 'a\ufffdb': '😀 \ufffd' } });
  });

  test('of the same name twice counts the last, as everywhere in JSON', () => {
    assert.deepEqual(reasonsOf('{"batch":[],"batch":[{"type":"track","userId":"a","userId":"","event":"e"}]}'), ['identity_missing']);
  });

  test('that is no batch at all is a fault', () => {
    for (const [body, reason] of [['{"batch":[1', 'json_invalid'], ['NaN', 'json_invalid'], ['[]', 'body_invalid'], ['null', 'body_invalid'], ['{}', 'batch_missing'], [{ batch: {} }, 'batch_missing'], [{ batch: new Array(MOST_EVENTS + 1).fill(1) }, 'too_many_events']] as const) {
      assert.throws(() => check(body), (thrown) => Fault.is(thrown) && thrown.code === 'invalid' && thrown.reason === reason, reason);
    }
  });

  test('of any JSON whatever gives items and reasons, never an exception, and its kept part reads the same again', () => {
    const item = fc.oneof(fc.json().map((text) => JSON.parse(text) as unknown), fc.record({ type: fc.constantFrom('track', 'identify', 'alias', 'group', 'x'), userId: fc.anything(), event: fc.anything(), traits: fc.anything(), timestamp: fc.anything(), groupId: fc.anything() }, { requiredKeys: [] }));
    fc.assert(
      fc.property(fc.array(item, { maxLength: 5 }), (items) => {
        const text = JSON.stringify({ batch: items }, (_, value: unknown) => (typeof value === 'bigint' ? null : value));
        const { stored, accepted, refused } = check(text);
        assert.equal(accepted + refused.length, items.length);
        assert.equal(stored?.batch.length ?? 0, accepted);
        for (const kept of stored?.batch ?? []) assert.equal(typeof readItem(kept, { type: null, sentAt: undefined, receivedAt: NOW }), 'object');
      }),
    );
  });
});
