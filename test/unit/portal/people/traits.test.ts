import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Attributes } from '../../../../modules/portal/contract.ts';
import { asChangeOf, newPerson, type PersonState, stampOf } from '../../../../modules/portal/people/person-state.ts';
import { MOST_ATTRIBUTES, MOST_ATTRIBUTES_BYTES, mergeOf, withTraits } from '../../../../modules/portal/people/traits.ts';

const NOW = Date.UTC(2026, 5, 1);
const person = newPerson('p1', 'u1', NOW);
const given = (state: PersonState, traits: Attributes, time: number, known = true) => withTraits(state, traits, stampOf(time, known), time).state;

describe('traits', () => {
  test('merge shallowly, and null deletes', () => {
    const first = given(person, { plan: 'basic', address: { city: 'Ghent', zip: '9000' }, old: 1 }, NOW);
    const second = given(first, { address: { city: 'Bruges' }, old: null }, NOW + 1);
    assert.deepEqual(second.attributes, { plan: 'basic', address: { city: 'Bruges' } });
  });

  test('of an older identify do not undo newer ones, not even a deletion', () => {
    const newer = given(person, { plan: 'gold', gone: null }, NOW);
    const late = given(newer, { plan: 'basic', gone: 'back', extra: true }, NOW - 1000);
    assert.deepEqual(late.attributes, { plan: 'gold', extra: true });
  });

  test('at the same time the later arrival wins', () => {
    assert.equal(given(given(person, { n: 1 }, NOW), { n: 2 }, NOW).attributes.n, 2);
  });

  test('email and time zone go to their fields', () => {
    const state = given(person, { email: 'Ann@Example.com', timezone: 'Europe/Brussels', locale: 'nl-BE' }, NOW);
    assert.equal(state.email, 'Ann@Example.com');
    assert.equal(state.timeZone, 'Europe/Brussels');
    assert.deepEqual(state.attributes, { locale: 'nl-BE' });
    const without = given(state, { email: null, timeZone: null }, NOW + 1);
    assert.deepEqual([without.email, without.timeZone], [null, null]);
  });

  for (const email of ['no-at', 'a@b', 'a b@c.de', 'a@b.c\r\nBcc: x@y.zz', '"a"@b.cd', 'a@b.cd, e@f.gh', 'a@b..cd', `${'x'.repeat(65)}@b.cd`, 5, { a: 1 }]) {
    test(`an email of ${JSON.stringify(email).slice(0, 40)} is refused and the rest is taken`, () => {
      const { state, problems } = withTraits(person, { email, plan: 'gold' }, NOW, NOW);
      assert.deepEqual(problems, [{ reason: 'email_invalid', trait: 'email' }]);
      assert.equal(state.email, null);
      assert.equal(state.attributes.plan, 'gold');
    });
  }

  test('a time zone that does not exist is refused, as is an offset', () => {
    for (const timeZone of ['Mars/Olympus', '+02:00', '', 7]) {
      assert.deepEqual(withTraits(person, { timeZone }, NOW, NOW).problems, [{ reason: 'time_zone_invalid', trait: 'timeZone' }]);
    }
  });

  test('too many or too large ones leave the person as she was, but for her consent', () => {
    const many = Object.fromEntries(Array.from({ length: MOST_ATTRIBUTES + 1 }, (_, i) => [`a${i}`, i]));
    const { state, problems } = withTraits(person, { ...many, unsubscribed: true }, NOW, NOW);
    assert.equal(problems.at(-1)?.reason, 'attributes_too_many');
    assert.deepEqual(state.attributes, {});
    assert.equal(state.consent.state, 'denied');
    assert.equal(withTraits(person, { big: 'x'.repeat(MOST_ATTRIBUTES_BYTES) }, NOW, NOW).problems[0]?.reason, 'attributes_too_large');
  });

  test('deleted names count, so that deleting cannot fill the memory', () => {
    const deleted = Object.fromEntries(Array.from({ length: MOST_ATTRIBUTES }, (_, i) => [`a${i}`, null]));
    assert.equal(withTraits(given(person, deleted, NOW), { one: 1 }, NOW, NOW).problems[0]?.reason, 'attributes_too_many');
  });

  test('names of prototypes are attributes like any other, or refused', () => {
    const hostile = JSON.parse('{"__proto__":{"admin":true},"constructor":"c","toString":"t"}') as Attributes;
    const { state, problems } = withTraits(person, hostile, NOW, NOW);
    assert.deepEqual(problems, [{ reason: 'attribute_name_invalid', trait: '__proto__' }]);
    assert.equal((state.attributes as { admin?: unknown }).admin, undefined);
    assert.equal(JSON.stringify(state.attributes), '{"constructor":"c","toString":"t"}');
  });
});

describe('consent', () => {
  const denied = (by: 'person' | 'api'): PersonState => ({ ...person, consent: { state: 'denied', by, at: NOW } });

  test('follows the traits unsubscribed and emailConsent, the later one', () => {
    const off = given(person, { unsubscribed: true }, NOW);
    assert.equal(off.consent.state, 'denied');
    assert.deepEqual(off.attributes, {});
    assert.equal(given(off, { emailConsent: 'granted' }, NOW + 1).consent.state, 'granted');
    assert.equal(given(off, { emailConsent: 'granted' }, NOW - 1).consent.state, 'denied');
    assert.equal(given(off, { unsubscribed: false }, NOW + 1).consent.state, 'unknown');
  });

  test('that the person or staff denied is never given back by traits', () => {
    for (const by of ['person', 'api'] as const) {
      assert.equal(given(denied(by), { emailConsent: 'granted', unsubscribed: false }, NOW + 1e9).consent.state, 'denied');
    }
  });

  test('denied wins a merge, on either side, and stays who said it', () => {
    const granted: PersonState = { ...person, id: 'p2', consent: { state: 'granted', by: 'api', at: NOW + 5 } };
    assert.equal(mergeOf(granted, denied('person')).consent.state, 'denied');
    assert.equal(mergeOf(denied('person'), granted).consent.by, 'person');
    assert.equal(mergeOf(given(person, { unsubscribed: true }, NOW + 9), denied('person')).consent.by, 'person');
  });

  test('is named when it cannot be understood', () => {
    assert.deepEqual(withTraits(person, { emailConsent: 'maybe' }, NOW, NOW).problems, [{ reason: 'consent_invalid', trait: 'emailConsent' }]);
  });
});

describe('versions', () => {
  test('rise when something can be seen to differ, and only then', () => {
    const first = asChangeOf(person, given(person, { a: [1, { b: 2 }] }, NOW), NOW);
    assert.equal(first.version, 2);
    const same = asChangeOf(first, given(first, { a: [1, { b: 2 }] }, NOW + 1), NOW);
    assert.equal(same.version, 2);
    assert.notDeepEqual(same.stamps, first.stamps);
  });
});

describe('whatever the order of arrival', () => {
  const value = fc.oneof(fc.constant(null), fc.integer(), fc.string(), fc.array(fc.integer(), { maxLength: 2 }));
  const traits = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'constructor'), value, { maxKeys: 4 }).map((d) => ({ ...d }) as Attributes);
  const said = fc.record({ traits, known: fc.boolean() });
  const seen = (state: PersonState) => ({ attributes: Object.fromEntries(Object.entries(state.attributes).sort()), stamps: Object.fromEntries(Object.entries(state.stamps).sort()) });

  test('identifies of different times give the same person', () => {
    fc.assert(
      fc.property(fc.array(said, { maxLength: 8 }), fc.infiniteStream(fc.nat()), (messages, order) => {
        const timed = messages.map((message, i) => ({ ...message, time: NOW + i }));
        const shuffled = timed.map((message) => ({ message, rank: order.next().value as number })).sort((a, b) => a.rank - b.rank);
        const inOrder = timed.reduce((state, m) => given(state, m.traits, m.time, m.known), person);
        const anyOrder = shuffled.reduce((state, { message: m }) => given(state, m.traits, m.time, m.known), person);
        assert.deepEqual(seen(anyOrder), seen(inOrder));
      }),
    );
  });

  test('merging commutes with identifying, with other merges, and with itself', () => {
    const history = fc.array(said, { maxLength: 4 });
    fc.assert(
      fc.property(history, history, history, (one, two, three) => {
        let time = NOW;
        const [a, b, c] = [one, two, three].map((messages, i) => messages.reduce((state, m) => given(state, m.traits, time++, m.known), newPerson(`p${i}`, null, NOW)));
        assert.deepEqual(seen(mergeOf(mergeOf(a!, b!), c!)), seen(mergeOf(a!, mergeOf(c!, b!))));
        assert.deepEqual(seen(mergeOf(a!, b!)), seen(mergeOf(b!, a!)));
        assert.deepEqual(seen(mergeOf(mergeOf(a!, b!), b!)), seen(mergeOf(a!, b!)));
        const more: Attributes = { a: 'later', b: null };
        assert.deepEqual(seen(given(mergeOf(a!, b!), more, time)), seen(mergeOf(given(a!, more, time), b!)));
      }),
    );
  });

  test('what is known of the user wins over what was known of the visitor', () => {
    const user = given(person, { plan: 'gold' }, NOW - 1e9);
    const visitor = given(newPerson('p2', null, NOW), { plan: 'free', source: 'ad' }, NOW, false);
    assert.deepEqual(mergeOf(user, visitor).attributes, { plan: 'gold', source: 'ad' });
    const laterUser = given(mergeOf(person, visitor), { plan: 'gold' }, NOW - 1e9);
    assert.equal(laterUser.attributes.plan, 'gold');
  });
});
