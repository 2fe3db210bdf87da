import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Person } from '../../../../modules/portal/contract.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { openPeople, type PeopleBench } from '../../../support/portal-people.ts';

interface Recorded { eventId: string; type: string; name: string; properties: object; time: number; person: Person }
interface Changed { person: Person; mergedFrom: string[] }

let clock: FakeClock;
let portal: PeopleBench;
const recorded = () => portal.published('portal.event-recorded') as Promise<Recorded[]>;
const changed = () => portal.published('portal.person-changed') as Promise<Changed[]>;
const reasons = async (workspace = 'w1') => (await portal.problems.list(workspace, { limit: 100 })).map((p) => p.reason);
const iso = (beforeMs: number) => new Date(clock.now() - beforeMs).toISOString();
let count = 0;
const messageId = () => `m${++count}`;
const track = (more: object = {}) => ({ type: 'track', userId: 'u1', event: 'Renewed', properties: { n: 1 }, messageId: messageId(), ...more });
const identify = (traits: object, more: object = {}) => ({ type: 'identify', userId: 'u1', traits, messageId: messageId(), ...more });

beforeEach(async () => {
  clock = new FakeClock(Date.UTC(2026, 10, 21));
  portal = await openPeople(clock);
});
afterEach(() => portal.close());

describe('events', () => {
  test('make the person whom they are about, and carry her as she stands', async () => {
    await portal.ingest([identify({ email: 'a@b.cd', plan: 'gold' }), track(), track({ event: 'Paid' })]);
    const [first, second] = await recorded();
    assert.equal(first!.person.email, 'a@b.cd');
    assert.deepEqual(first!.person.attributes, { plan: 'gold' });
    assert.equal(first!.person.version, 1);
    assert.deepEqual(first!.properties, { n: 1 });
    assert.equal(second!.person.personId, first!.person.personId);
    assert.deepEqual(await changed(), [], 'the events have told of her');
    const timeline = await portal.timeline.list(first!.person.personId, { limit: 10 }, portal.call());
    assert.deepEqual(timeline.map((e) => e.name).sort(), ['Paid', 'Renewed']);
  });

  test('of one batch happen in the order of their times', async () => {
    await portal.ingest([track({ event: 'third', timestamp: iso(10) }), track({ event: 'first', timestamp: iso(30) }), track({ event: 'second', timestamp: iso(20) }), track({ event: 'fourth', timestamp: iso(10) })]);
    assert.deepEqual((await recorded()).map((e) => e.name), ['first', 'second', 'third', 'fourth']);
  });

  test('of pages and screens are recorded by their names', async () => {
    await portal.ingest([track({ type: 'page', name: 'Pricing', event: undefined }), track({ type: 'screen', category: 'Home', event: undefined }), track({ type: 'page', event: undefined })]);
    assert.deepEqual((await recorded()).map((e) => [e.type, e.name]), [['page', 'Pricing'], ['screen', 'Home'], ['page', 'page']]);
  });
});

describe('a repeat', () => {
  test('of a message has no effect, in the same batch, in a later one, or with another body', async () => {
    const once = track({ messageId: 'same' });
    await portal.ingest([once, once]);
    await portal.ingest([{ ...once, event: 'Changed', properties: {} }]);
    assert.deepEqual((await recorded()).map((e) => e.name), ['Renewed']);
  });

  test('is one within its workspace only', async () => {
    await portal.ingest([track({ messageId: 'same' })]);
    await portal.ingest([track({ messageId: 'same' })], { workspace: 'w2' });
    const [one, two] = await recorded();
    assert.notEqual(one!.person.personId, two!.person.personId);
  });

  test('cannot be seen in messages without an id', async () => {
    await portal.ingest([track({ messageId: undefined }), track({ messageId: undefined })]);
    assert.equal((await recorded()).length, 2);
  });
});

describe('identify', () => {
  test('tells of a person who changed without an event, once a batch, and not of one who did not', async () => {
    await portal.ingest([identify({ a: 1 }), identify({ a: 2 })]);
    await portal.ingest([identify({ a: 2 })]);
    await portal.ingest([identify({ a: 3 })]);
    assert.deepEqual((await changed()).map(({ person }) => [person.version, person.attributes.a]), [[1, 2], [2, 3]]);
  });

  test('that arrives late does not undo what was said after it', async () => {
    await portal.ingest([identify({ plan: 'gold' }, { timestamp: iso(0) })]);
    await portal.ingest([identify({ plan: 'basic', city: 'Ghent' }, { timestamp: iso(60_000) })]);
    assert.deepEqual((await changed()).at(-1)!.person.attributes, { plan: 'gold', city: 'Ghent' });
  });

  test('with a trait that cannot be taken takes the others and says which', async () => {
    await portal.ingest([identify({ email: 'nonsense', timezone: 'Mars/Olympus', ok: true }, { messageId: 'bad' })]);
    const problems = await portal.problems.list('w1', { limit: 10 });
    assert.deepEqual(problems.map((p) => [p.messageId, p.reason, p.detail]).sort(), [['bad', 'email_invalid', 'email'], ['bad', 'time_zone_invalid', 'timezone']]);
    assert.deepEqual((await changed())[0]!.person.attributes, { ok: true });
  });
});

describe('who is who', () => {
  const visit = (more: object = {}) => track({ userId: undefined, anonymousId: 'a1', event: 'Visited', ...more });

  test('a visitor becomes known by an identify with both ids, and stays the same person', async () => {
    await portal.ingest([visit()]);
    await portal.ingest([identify({ plan: 'gold' }, { anonymousId: 'a1' })]);
    await portal.ingest([track(), visit()]);
    const people = new Set((await recorded()).map((e) => e.person.personId));
    assert.equal(people.size, 1);
    assert.equal((await recorded()).at(-1)!.person.userId, 'u1');
    assert.deepEqual((await changed()).map((c) => c.mergedFrom), [[]]);
  });

  test('a visitor goes up in a user who is known already, with her events and without overriding', async () => {
    await portal.ingest([identify({ plan: 'gold' }), track()]);
    await portal.ingest([identify({ plan: 'free', source: 'ad' }, { userId: undefined, anonymousId: 'a1' }), visit()]);
    const [known, visitor] = (await recorded()).map((e) => e.person.personId);
    await portal.ingest([identify({}, { anonymousId: 'a1' }), visit({ event: 'Came back' })]);
    const merge = (await changed()).at(-1)!;
    assert.equal(merge.person.personId, known);
    assert.deepEqual(merge.mergedFrom, [visitor]);
    assert.deepEqual(merge.person.attributes, { plan: 'gold', source: 'ad' });
    assert.equal((await recorded()).at(-1)!.person.personId, known);
    const timeline = await portal.timeline.list(known!, { limit: 10 }, portal.call());
    assert.deepEqual(timeline.map((e) => e.name), ['Came back', 'Visited', 'Renewed']);
    const { people, merged } = await portal.recipients.getRecipients({ personIds: [visitor!, known!] }, portal.call());
    assert.deepEqual(merged, { [visitor!]: known });
    assert.deepEqual((await portal.recipients.getRecipients({ personIds: [visitor!] }, portal.call())).people.map((p) => p.personId), [visitor, known]);
    assert.deepEqual(people.map((p) => [p.personId === known, p.gone]).sort(), [[false, true], [true, false]]);
  });

  test('the merge is told before the events that follow it', async () => {
    await portal.ingest([track(), visit(), identify({}, { anonymousId: 'a1' }), track({ event: 'After' })]);
    const rows = (await portal.store.db.selectFrom('fabric_outbox' as never).select(['seq', 'name', 'payload'] as never).orderBy('seq' as never).execute()) as unknown as { name: string; payload: string }[];
    const after = rows.findIndex((row) => row.payload.includes('"After"'));
    assert.equal(rows[after - 1]!.name, 'portal.person-changed');
    assert.equal(after, rows.length - 1);
    const [merge] = await changed();
    assert.equal((await recorded()).at(-1)!.person.version, merge!.person.version);
  });

  test('two users of one browser stay two', async () => {
    await portal.ingest([identify({}, { anonymousId: 'a1' }), track()]);
    await portal.ingest([identify({}, { userId: 'u2', anonymousId: 'a1' }), track({ userId: 'u2' })]);
    const [one, two] = await recorded();
    assert.notEqual(one!.person.personId, two!.person.personId);
    await portal.ingest([visit()]);
    assert.equal((await recorded()).at(-1)!.person.personId, one!.person.personId);
  });

  test('alias joins two names, whichever exists before', async () => {
    const alias = (previousId: string, userId: string) => ({ type: 'alias', previousId, userId, messageId: messageId() });
    await portal.ingest([alias('early', 'u9'), track({ userId: 'early' }), track({ userId: 'u9' }), track({ userId: undefined, anonymousId: 'early' })]);
    assert.equal(new Set((await recorded()).map((e) => e.person.personId)).size, 1);
    await portal.ingest([visit({ anonymousId: 'a7' }), alias('a7', 'u7'), track({ userId: 'u7' })]);
    const [, , , visitor, user] = await recorded();
    assert.equal(visitor!.person.personId, user!.person.personId);
    assert.equal(user!.person.userId, 'u7');
    await portal.ingest([track({ userId: 'u9' }), alias('u9', 'u7'), track({ userId: 'u9' })]);
    assert.equal((await recorded()).at(-1)!.person.personId, user!.person.personId);
  });

  test('chains of merges stay flat, and whoever denied stays denied', async () => {
    await portal.ingest([visit({ anonymousId: 'a1' }), identify({ unsubscribed: true }, { userId: undefined, anonymousId: 'a2' }), track({ userId: 'u1' })]);
    await portal.ingest([{ type: 'alias', previousId: 'a1', userId: 'a-u', messageId: messageId() }, { type: 'alias', previousId: 'a2', userId: 'a-u', messageId: messageId() }]);
    await portal.ingest([{ type: 'alias', previousId: 'a-u', userId: 'u1', messageId: messageId() }, track({ userId: undefined, anonymousId: 'a2' })]);
    const last = (await recorded()).at(-1)!.person;
    assert.equal(last.userId, 'u1');
    assert.equal(last.consent.email, 'denied');
    const rows = await portal.store.db.selectFrom('people').selectAll().where('merged_into', 'is not', null).execute();
    assert.deepEqual(rows.map((row) => [row.merged_into, row.gone, row.email, row.attributes_json]), rows.map(() => [last.personId, 1, null, '{}']));
    assert.equal(rows.length, 2);
  });

  test('a group is kept with its traits and named on its member', async () => {
    const group = (traits: object, beforeMs = 0) => ({ type: 'group', userId: 'u1', groupId: 'g1', traits, timestamp: iso(beforeMs), messageId: messageId() });
    await portal.ingest([group({ name: 'Acme', size: 5 })]);
    await portal.ingest([group({ name: 'Old', city: 'Ghent' }, 60_000)]);
    const [row] = await portal.store.db.selectFrom('groups').selectAll().execute();
    assert.deepEqual(JSON.parse(row!.traits_json), { name: 'Acme', size: 5, city: 'Ghent' });
    assert.equal((await changed())[0]!.person.attributes.groupId, 'g1');
  });
});

describe('what is wrong', () => {
  test('in one item leaves the others alone and is listed', async () => {
    await portal.ingest([track(), { type: 'track' }, identify({ big: 'x'.repeat(40_000) }), track({ event: 'Last' })], { refused: [{ index: 4, messageId: 'm', type: 'track', reason: 'event_too_large' }] });
    assert.equal((await recorded()).length, 2);
    assert.deepEqual((await reasons()).sort(), ['attributes_too_large', 'event_too_large', 'identity_missing']);
  });

  test('is kept a thousand times and no more, each workspace for itself', async () => {
    const refused = Array.from({ length: 100 }, () => ({ index: 0, messageId: null, type: null, reason: 'x' }));
    await portal.ingest([], { refused, workspace: 'w2' });
    for (let i = 0; i < 12; i++) await portal.ingest([], { refused });
    const count = async (workspace: string) => (await portal.problems.list(workspace, { limit: 5_000 })).length;
    assert.deepEqual([await count('w1'), await count('w2'), await count('w3')], [1_000, 100, 0]);
  });

  test('with what is stored of one person leaves the others alone', async () => {
    await portal.ingest([track({ userId: 'sick' }), track({ userId: 'well' })]);
    await portal.store.transaction((tx) => tx.db.updateTable('people').set({ attributes_json: '{broken' }).where('user_id', '=', 'sick').execute());
    await portal.ingest([track({ userId: 'sick', event: 'No' }), track({ userId: 'well', event: 'Yes' })]);
    assert.deepEqual((await recorded()).map((e) => e.name), ['Renewed', 'Renewed', 'Yes']);
    assert.deepEqual(await reasons(), ['internal']);
  });

  test('with a merge too many is said, and both persons go on', async () => {
    await portal.ingest([track(), track({ userId: undefined, anonymousId: 'a1' })]);
    const [known, visitor] = (await recorded()).map((e) => e.person.personId);
    const row = await portal.store.db.selectFrom('people').selectAll().where('id', '=', visitor!).executeTakeFirstOrThrow();
    await portal.store.transaction(async (tx) => {
      for (let i = 0; i < 1_000; i++) await tx.db.insertInto('people').values({ ...row, id: `old${i}`, gone: 1, merged_into: known! }).execute();
    });
    await portal.ingest([identify({}, { anonymousId: 'a1' }), track(), track({ userId: undefined, anonymousId: 'a1' })]);
    assert.deepEqual(await reasons(), ['too_many_merged']);
    assert.deepEqual((await recorded()).slice(2).map((e) => e.person.personId), [known, visitor]);
    assert.equal((await portal.timeline.list(known!, { limit: 5 }, portal.call())).length, 2);
  });

  test('inside, in mid-batch, loses nothing of the batch when it is tried again', async () => {
    const items = [track(), track({ event: 'Two' })];
    await assert.rejects(portal.store.transaction(async () => { throw new Error('power cut'); }));
    await portal.ingest(items);
    await portal.ingest(items);
    assert.equal((await recorded()).length, 2);
  });
});

test('no name of one workspace reaches a person of another', async () => {
  const both = [identify({ secret: 'one' }, { anonymousId: 'a1', messageId: 'i' }), track({ messageId: 't' })];
  await portal.ingest(both);
  await portal.ingest([{ ...both[0], traits: { secret: 'two' } }, both[1]!], { workspace: 'w2' });
  const [one, two] = await recorded();
  assert.deepEqual([one!.person.attributes.secret, two!.person.attributes.secret], ['one', 'two']);
  const foreign = await portal.recipients.getRecipients({ personIds: [one!.person.personId, two!.person.personId] }, portal.call('w2'));
  assert.deepEqual(foreign.people.map((p) => p.attributes.secret), ['two']);
  for (const attempt of [() => portal.people.get(one!.person.personId, portal.call('w2')), () => portal.timeline.list(one!.person.personId, { limit: 1 }, portal.call('w2'))]) {
    await assert.rejects(attempt, { code: 'not_found' });
  }
});
