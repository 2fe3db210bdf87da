import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Person } from '../../../../modules/portal/contract.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { openPeople, type PeopleBench } from '../../../support/portal-people.ts';

let clock: FakeClock;
let portal: PeopleBench;
const changes = async () => ((await portal.published('portal.person-changed')) as { person: Person }[]).map(({ person }) => person);
let count = 0;
const track = (more: object = {}) => ({ type: 'track', userId: 'u1', event: 'Renewed', messageId: `m${++count}`, ...more });

beforeEach(async () => {
  clock = new FakeClock(Date.UTC(2026, 10, 21));
  portal = await openPeople(clock);
});
afterEach(() => portal.close());

describe('a person', () => {
  test('is made, changed and told of, version by version', async () => {
    const { people } = portal;
    const made = await people.create({ userId: 'u1', email: 'A@b.cd', timeZone: 'Europe/Brussels', attributes: { plan: 'gold' }, consent: 'granted' }, portal.call());
    const changed = await people.update(made.personId, { attributes: { plan: null, city: 'Ghent' }, ifVersion: made.version }, portal.call());
    assert.deepEqual([changed.version, changed.attributes, changed.email, changed.consent], [2, { city: 'Ghent' }, 'A@b.cd', { email: 'granted' }]);
    assert.deepEqual((await changes()).map((p) => p.version), [1, 2]);
    await people.update(made.personId, { attributes: { city: 'Ghent' } }, portal.call());
    assert.equal((await changes()).length, 2, 'nothing changed, nothing to tell');
    assert.deepEqual(await people.get(made.personId, portal.call()), { ...changed });
  });

  test('is found by the beginnings of her userId and her address', async () => {
    const { people } = portal;
    await people.create({ userId: 'user-1', email: 'Ann@B.cd' }, portal.call());
    await people.create({ userId: 'user-2', email: 'bob@b.cd' }, portal.call());
    assert.deepEqual((await people.list({ email: 'AN', limit: 5 }, portal.call())).map((p) => p.userId), ['user-1']);
    assert.deepEqual((await people.list({ userId: 'user-', limit: 5 }, portal.call())).map((p) => p.userId), ['user-1', 'user-2']);
    assert.deepEqual(await people.list({ userId: '%', limit: 5 }, portal.call()), []);
  });

  for (const [filter, expected] of [[{}, 'u6 u5 u4 u3 u2 u1 u0'], [{ userId: 'u' }, 'u0 u1 u2 u3 u4 u5 u6'], [{ email: 'A' }, 'u0 u2 u4 u6 u1 u3 u5']] as const) {
    test(`is listed page by page, each once, looking for ${JSON.stringify(filter)}`, async () => {
      for (let i = 0; i < 7; i++) await portal.people.create({ userId: `u${i}`, email: `a${i % 2}@b.cd` }, portal.call());
      const seen: string[] = [];
      for (let before: string | undefined; ; ) {
        const page = await portal.people.list({ before, limit: 3, ...filter }, portal.call());
        seen.push(...page.map((p) => p.userId!));
        if (page.length < 3) break;
        before = portal.people.cursorOf(page.at(-1)!, filter);
      }
      assert.equal(seen.join(' '), expected);
    });
  }

  test('has been known for as long as either of the two that became her', async () => {
    await portal.ingest([track({ userId: undefined, anonymousId: 'a1' })]);
    const began = clock.now();
    await clock.advance(1_000);
    await portal.ingest([track()]);
    await portal.ingest([{ type: 'identify', userId: 'u1', anonymousId: 'a1', messageId: 'merge' }]);
    assert.equal((await portal.user('u1')).createdAt, began);
  });

  test('is made once for one idempotency key', async () => {
    const once = await portal.people.create({ email: 'a@b.cd' }, portal.call('w1', 'key'));
    const again = await portal.people.create({ email: 'a@b.cd' }, portal.call('w1', 'key'));
    assert.equal(again.personId, once.personId);
    assert.equal((await portal.people.list({ limit: 9 }, portal.call())).length, 1);
  });

  test('faults say what is wrong', async () => {
    const { people } = portal;
    const made = await people.create({ userId: 'u1' }, portal.call());
    await assert.rejects(people.create({ userId: 'u1' }, portal.call()), { code: 'conflict', reason: 'user_id_taken' });
    await assert.rejects(people.update(made.personId, { ifVersion: 9, email: 'a@b.cd' }, portal.call()), { code: 'conflict', reason: 'version_changed' });
    await assert.rejects(people.update(made.personId, { email: 'nope', attributes: { [`${'x'.repeat(201)}`]: 1 } }, portal.call()), { code: 'invalid', reason: 'person_invalid' });
    await assert.rejects(people.update('unknown', {}, portal.call()), { code: 'not_found' });
    await assert.rejects(people.list({ email: 'a', userId: 'u', limit: 1 }, portal.call()), { code: 'invalid', reason: 'filters_exclusive' });
  });

  test('of another workspace does not exist', async () => {
    const { people } = portal;
    const { personId } = await people.create({ userId: 'u1', email: 'a@b.cd' }, portal.call());
    const foreign = portal.call('w2');
    const attempts = [() => people.get(personId, foreign), () => people.update(personId, { email: null }, foreign), () => people.setConsent(personId, 'denied', 'api', foreign), () => people.remove(personId, foreign)];
    for (const attempt of attempts) {
      await assert.rejects(attempt(), { code: 'not_found' });
    }
    for (const filter of [{ userId: 'u1' }, { email: 'a@b.cd' }]) assert.deepEqual(await people.list({ ...filter, limit: 5 }, foreign), []);
    assert.deepEqual(await people.list({ limit: 5 }, foreign), []);
    assert.equal((await people.get(personId, portal.call())).email, 'a@b.cd');
  });
});

describe('consent', () => {
  test('that the person withdrew by a link is recorded, follows her into a merge, and traits cannot bring it back', async () => {
    await portal.ingest([track({ userId: undefined, anonymousId: 'a1' }), track()]);
    const [visitor] = ((await portal.published('portal.event-recorded')) as { person: Person }[]).map((e) => e.person.personId);
    await portal.ingest([{ type: 'identify', userId: 'u1', anonymousId: 'a1', messageId: 'merge' }]);
    await portal.unsubscribe(visitor!);
    await portal.ingest([{ type: 'identify', userId: 'u1', messageId: 'x', traits: { emailConsent: 'granted' } }]);
    const person = await portal.user('u1');
    assert.deepEqual([person.consent.email, person.consentBy], ['denied', 'person']);
    const granted = await portal.people.setConsent(person.personId, 'granted', 'api', portal.call());
    assert.equal(granted.consent.email, 'granted');
  });

  test('of somebody unknown or deleted needs nothing', async () => {
    await portal.unsubscribe('nobody');
    assert.deepEqual(await changes(), []);
  });
});

describe('deleting', () => {
  test('leaves nothing personal, tells the others, and cannot be undone by what was on its way', async () => {
    const secret = 'ann-secret';
    await portal.ingest([track({ userId: undefined, anonymousId: `a-${secret}`, properties: { secret } }), { type: 'identify', userId: `u-${secret}`, messageId: 'i', traits: { email: `${secret}@b.cd`, name: secret } }, track({ userId: `u-${secret}`, context: { ip: secret } })]);
    await portal.ingest([{ type: 'identify', userId: `u-${secret}`, anonymousId: `a-${secret}`, messageId: 'merge' }]);
    const { personId } = await portal.user(`u-${secret}`);
    const onItsWay = clock.now();
    await clock.advance(1_000);
    await portal.people.remove(personId, portal.call());
    assert.deepEqual((await changes()).at(-1), { personId, version: 3, userId: null, email: null, attributes: {}, timeZone: null, consent: { email: 'unknown' }, gone: true });
    await portal.ingest([track({ userId: `u-${secret}`, event: 'too late' })], { receivedAt: onItsWay });
    await portal.erase();
    await portal.ingest([track({ userId: `u-${secret}`, event: 'too late' }), track({ userId: undefined, anonymousId: `a-${secret}` })], { receivedAt: onItsWay });
    for (const table of ['people', 'identities', 'erased_identities', 'events', 'groups', 'ingest_problems'] as const) {
      assert.ok(!JSON.stringify(await portal.store.db.selectFrom(table).selectAll().execute()).includes(secret), table);
    }
    assert.equal((await portal.people.list({ limit: 5 }, portal.call())).length, 0);
    await assert.rejects(portal.people.get(personId, portal.call()), { code: 'not_found' });
    await assert.rejects(portal.people.remove(personId, portal.call()), { code: 'not_found' });
    const { people } = await portal.recipients.getRecipients({ personIds: [personId] }, portal.call());
    assert.deepEqual(people.map((p) => p.gone), [true]);
  });

  test('lets the same user begin anew with what is sent later', async () => {
    await portal.ingest([track()]);
    const { personId } = await portal.user('u1');
    await portal.people.remove(personId, portal.call());
    await portal.erase();
    await clock.advance(1_000);
    await portal.ingest([track({ event: 'Back' })]);
    const again = await portal.user('u1');
    assert.notEqual(again.personId, personId);
    assert.deepEqual((await portal.timeline.list(again.personId, { limit: 9 }, portal.call())).map((e) => e.name), ['Back']);
  });

  test('names those who had gone up in the person, for whom the others have data too', async () => {
    await portal.ingest([track({ userId: undefined, anonymousId: 'a1' }), track({ userId: 'u1' })]);
    await portal.ingest([{ type: 'identify', userId: 'u1', anonymousId: 'a1', messageId: 'merge' }]);
    const { personId } = await portal.user('u1');
    await portal.people.remove(personId, portal.call());
    const told = (await portal.published('portal.person-changed')) as { person: Person; mergedFrom: string[] }[];
    const merge = told.find(({ person, mergedFrom }) => !person.gone && mergedFrom.length === 1)!;
    assert.deepEqual(told.at(-1)!.mergedFrom, merge.mergedFrom);
    assert.equal(told.at(-1)!.person.gone, true);
  });

  test('of much goes on in pieces', async () => {
    for (let i = 0; i < 3; i++) await portal.ingest(Array.from({ length: 400 }, () => track()));
    const { personId } = await portal.user('u1');
    await portal.people.remove(personId, portal.call());
    assert.ok((await portal.erase()) >= 3);
    assert.deepEqual(await portal.store.db.selectFrom('events').selectAll().execute(), []);
  });
});

test('the timeline goes on where its page ended, over everybody who went up in the person', async () => {
  const at = (ms: number) => new Date(clock.now() - ms).toISOString();
  await portal.ingest(Array.from({ length: 9 }, (_, i) => track({ event: `e${i}`, timestamp: at(Math.floor(i / 2) * 10), ...(i % 3 === 0 ? { userId: undefined, anonymousId: 'a1' } : {}) })));
  await portal.ingest([{ type: 'identify', userId: 'u1', anonymousId: 'a1', messageId: 'merge' }]);
  const { personId } = await portal.user('u1');
  const whole = await portal.timeline.list(personId, { limit: 100 }, portal.call());
  const paged: string[] = [];
  for (let before: { time: number; id: string } | undefined; ; ) {
    const page = await portal.timeline.list(personId, { before, limit: 2 }, portal.call());
    paged.push(...page.map((e) => e.eventId));
    if (page.length < 2) break;
    before = { time: page.at(-1)!.time, id: page.at(-1)!.eventId };
  }
  assert.equal(whole.length, 9);
  assert.deepEqual(paged, whole.map((e) => e.eventId));
});
