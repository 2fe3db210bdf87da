import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { CompiledQuery } from 'kysely';
import type { PersonRow } from '../../../../modules/portal/tables.ts';
import type { Condition } from '../../../../src/kernel/conditions/condition.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { longestTurn } from '../../../support/longest-turn.ts';
import { openPeople, type PeopleBench } from '../../../support/portal-people.ts';
import { type Random, seeded } from '../../../support/seed.ts';

const START = Date.UTC(2026, 10, 21);
const planOf = (row: PersonRow) => (JSON.parse(row.attributes_json) as { plan?: string }).plan;
/** Conditions, and the same as plain functions over what the table has. */
const ASKED: readonly { readonly condition: Condition; readonly holds: (row: PersonRow) => boolean }[] = [
  { condition: { field: 'person.plan', op: 'eq', value: 'gold' }, holds: (row) => planOf(row) === 'gold' },
  { condition: { all: [{ field: 'person.email', op: 'exists' }, { not: { field: 'record.consent.email', op: 'eq', value: 'denied' } }] }, holds: (row) => row.email !== null && row.consent_email !== 'denied' },
  { condition: { any: [{ field: 'record.userId', op: 'missing' }, { field: 'record.createdAt', op: 'gte', value: START + 20_000 }] }, holds: (row) => row.user_id === null || row.created_at >= START + 20_000 },
  { condition: { all: [] }, holds: () => true },
];

let clock: FakeClock;
let portal: PeopleBench;
beforeEach(async () => {
  clock = new FakeClock(START);
  portal = await openPeople(clock);
});
afterEach(() => portal.close());

let messages = 0;
const identify = (who: object, traits: object = {}) => ({ type: 'identify', messageId: `m${++messages}`, ...who, traits });
const settleAll = async () => {
  while (await portal.settle());
};
const membersOf = async (segment: string) => (await portal.store.db.selectFrom('segment_members').select('person_id').where('segment_id', '=', segment).orderBy('person_id').execute()).map((row) => row.person_id);
const ofTheGone = CompiledQuery.raw('select person_id from segment_members inner join segments on segments.id = segment_id inner join people on people.id = person_id where gone = 1');
const peopleOf = async (holds: (row: PersonRow) => boolean) => (await portal.store.db.selectFrom('people').selectAll().where('gone', '=', 0).orderBy('id').execute()).filter(holds).map((row) => row.id);

/** So many that everybody is looked at in several pieces. */
const MANY = 300;
const addMany = () => portal.ingest(Array.from({ length: MANY }, (_, i) => identify(i % 3 === 0 ? { anonymousId: `a${i}` } : { userId: `u${i}` }, { plan: ['gold', 'home', null][i % 3], ...(i % 2 === 0 && { email: `p${i}@b.cd` }) })));

test('whatever happens to people and segments, in whatever order, each segment has exactly those of whom its condition holds', async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  await addMany();
  const live = new Map<string, (typeof ASKED)[number]>();
  const deleted: string[] = [];
  for (let step = 0; step < 120; step++) {
    await clock.advance(1_000);
    await happen(random, live, deleted);
    if (random.whole(3) > 0) await portal.settle();
    const { rows } = await portal.store.db.executeQuery(ofTheGone);
    assert.deepEqual(rows, [], `step ${step}`);
    if (step % 10 !== 0) continue;
    for (const { segmentId, state } of await portal.segments.list(portal.call())) {
      if (state === 'ready') assert.deepEqual(await membersOf(segmentId), await peopleOf(live.get(segmentId)!.holds), `step ${step}`);
    }
  }
  await settleAll();
  assert.ok(live.size > 0 && deleted.length > 0);
  for (const [segmentId, { holds }] of live) {
    const expected = await peopleOf(holds);
    assert.deepEqual(await membersOf(segmentId), expected);
    const { state, people, lookedAt } = await portal.segments.get(segmentId, portal.call());
    assert.deepEqual([state, people], ['ready', expected.length]);
    assert.ok(lookedAt >= MANY / 2);
  }
  for (const segmentId of deleted) assert.deepEqual(await membersOf(segmentId), []);
});

async function happen({ whole }: Random, live: Map<string, (typeof ASKED)[number]>, deleted: string[]): Promise<void> {
  const { people, segments } = portal;
  const call = portal.call();
  const asked = ASKED[whole(ASKED.length)]!;
  const one = () => [...live.keys()][whole(live.size)]!;
  const rows = await portal.store.db.selectFrom('people').select('id').where('gone', '=', 0).orderBy('id').execute();
  const person = rows[whole(rows.length)]!.id;
  const traits = { plan: ['gold', 'home', null][whole(3)], email: ['x@y.zz', null][whole(2)], ...(whole(4) === 0 && { unsubscribed: true }) };
  const [a, u] = [{ anonymousId: `a${whole(MANY)}` }, { userId: `u${whole(MANY)}` }];
  const steps: (() => Promise<unknown>)[] = [
    async () => void live.set((await segments.create({ name: 'S', condition: asked.condition }, call)).segmentId, asked),
    async () => {
      if (live.size < 2) return;
      const segment = one();
      await segments.save(segment, { name: 'S', condition: asked.condition }, call);
      live.set(segment, asked);
    },
    async () => {
      if (live.size < 3) return;
      const segment = one();
      await segments.remove(segment, call);
      live.delete(segment);
      deleted.push(segment);
    },
    () => portal.ingest([identify(a, traits), identify(u, traits), { type: 'group', ...a, groupId: 'g', messageId: `m${++messages}` }]),
    () => portal.ingest([identify({ ...a, ...u }, traits)]),
    () => portal.ingest([{ type: 'alias', previousId: a.anonymousId, ...u, messageId: `m${++messages}` }]),
    () => people.update(person, { attributes: { plan: traits.plan ?? null }, email: traits.email ?? null }, call),
    () => people.setConsent(person, (['granted', 'denied', 'unknown'] as const)[whole(3)]!, 'api', call),
    () => portal.unsubscribe(person),
    () => people.remove(person, call),
    () => people.create({ email: 'new@b.cd', attributes: { plan: 'gold' } }, call),
  ];
  await steps[whole(steps.length)]!();
}

test('everybody is looked at in pieces; one that is told of again, or of a condition that has changed since, does nothing', async () => {
  await addMany();
  const made = await portal.segments.create({ name: 'Gold', condition: ASKED[0]!.condition }, portal.call());
  assert.deepEqual([made.state, made.lookedAt, made.people], ['filling', 0, 0]);
  await portal.settle();
  const half = await portal.segments.get(made.segmentId, portal.call());
  assert.deepEqual([half.state, half.lookedAt > 0 && half.lookedAt < MANY, half.people], ['filling', true, (await membersOf(made.segmentId)).length]);
  const changed = await portal.segments.save(made.segmentId, { name: 'Known', condition: ASKED[3]!.condition }, portal.call());
  assert.deepEqual([changed.version, changed.state, changed.lookedAt], [2, 'filling', 0]);
  // The next piece of before comes to nothing.
  await portal.settle();
  assert.equal((await portal.segments.get(made.segmentId, portal.call())).lookedAt, 0);
  await settleAll();
  const done = await portal.segments.get(made.segmentId, portal.call());
  assert.deepEqual([done.state, done.lookedAt, done.people], ['ready', MANY, MANY]);
  assert.deepEqual(await portal.segments.save(made.segmentId, { name: 'Known', condition: { all: [] }, ifVersion: 1 }, portal.call()), done, 'as it was');
  const renamed = await portal.segments.save(made.segmentId, { name: 'All', condition: { all: [] } }, portal.call());
  assert.deepEqual([renamed.state, renamed.version], ['ready', 3], 'a name makes nobody be looked at');
});

test('whoever goes leaves every segment at once, also one whose condition is new and has not come to her yet', async () => {
  await portal.ingest([identify({ anonymousId: 'a1' }, { plan: 'gold' }), identify({ userId: 'u1' }, { plan: 'gold' }), identify({ userId: 'u2' }, { plan: 'gold' })]);
  const { segmentId } = await portal.segments.create({ name: 'Gold', condition: ASKED[0]!.condition }, portal.call());
  await settleAll();
  await portal.segments.save(segmentId, { name: 'Nobody', condition: { any: [] } }, portal.call());
  await portal.people.remove((await portal.user('u2')).personId, portal.call());
  await portal.ingest([identify({ anonymousId: 'a1', userId: 'u1' })]);
  assert.deepEqual(await membersOf(segmentId), [(await portal.user('u1')).personId]);
  assert.equal((await portal.segments.get(segmentId, portal.call())).people, 1);
});

test('of another workspace, people are not taken, and segments do not exist; each has a hundred at most', async () => {
  const { segmentId } = await portal.segments.create({ name: 'All', condition: { all: [] } }, portal.call());
  await settleAll();
  await portal.ingest([identify({ userId: 'theirs' })], { workspace: 'w2' });
  assert.deepEqual(await membersOf(segmentId), []);
  const foreign = portal.call('w2');
  const wanted = { name: 'All', condition: { all: [] } };
  for (const attempt of [() => portal.segments.get(segmentId, foreign), () => portal.segments.save(segmentId, wanted, foreign), () => portal.segments.remove(segmentId, foreign), () => portal.people.list({ limit: 5, segment: segmentId }, foreign)]) {
    await assert.rejects(attempt(), { code: 'not_found', reason: 'segment_not_found' });
  }
  assert.deepEqual(await portal.segments.list(foreign), []);
  for (let i = 0; i < 100; i++) await portal.segments.create(wanted, foreign);
  await assert.rejects(portal.segments.create(wanted, foreign), { code: 'exhausted', reason: 'too_many_segments' });
});

/** Counts 900: some 14 ms of processor time for each person of whom it does not hold. */
const costly = (n: number): Condition => ({ any: [0, 1].map((i) => ({ any: Array.from({ length: 45 }, (_, k) => ({ field: 'person.note', op: 'contains' as const, value: `${'x'.repeat(k + 100)}${n}${i}` })) })) });
const NOTE = 'x'.repeat(30_000);

test('conditions that cost much are asked with turns for others in between, of who changes and of everybody', async (t) => {
  const longest = longestTurn(t);
  for (let n = 0; n < 2; n++) await portal.segments.create({ name: `s${n}`, condition: costly(n) }, portal.call());
  await portal.ingest(Array.from({ length: 12 }, (_, i) => identify({ userId: `u${i}` }, { note: NOTE })));
  await portal.settle();
  assert.ok(longest.ms() < 50, `a turn of ${longest.ms()} ms`);
  assert.ok((await portal.segments.list(portal.call())).some(({ state, lookedAt }) => state === 'filling' && lookedAt > 0), 'all of them at once');
  await settleAll();
  for (const { state, lookedAt } of await portal.segments.list(portal.call())) assert.deepEqual([state, lookedAt], ['ready', 12]);
});

test('what the conditions of a workspace cost together is bounded when one is saved', async () => {
  const call = portal.call();
  const { segmentId } = await portal.segments.create({ name: 'a', condition: costly(0) }, call);
  await portal.segments.create({ name: 'b', condition: costly(1) }, call);
  const tooMuch = { code: 'exhausted', reason: 'segments_too_costly', details: { path: 'condition', cost: 900, others: 1_800, most: 2_000 } };
  await assert.rejects(portal.segments.create({ name: 'c', condition: costly(2) }, call), tooMuch);
  await portal.segments.create({ name: 'of another workspace', condition: costly(2) }, portal.call('w2'));
  const more: Condition = { all: [costly(0), { not: { field: 'person.tags', op: 'in', value: [['a'], 'b'] } }, ...Array.from({ length: 10 }, () => ({ field: 'person.tags', op: 'eq' as const, value: { a: 1 } }))] };
  await assert.rejects(portal.segments.save(segmentId, { name: 'a', condition: more }, call), { ...tooMuch, details: { path: 'condition', cost: 1_120, others: 900, most: 2_000 } });
  assert.equal((await portal.segments.save(segmentId, { name: 'renamed', condition: costly(0) }, call)).version, 2);
  await portal.segments.save(segmentId, { name: 'a', condition: { field: 'person.plan', op: 'in', value: ['gold', 'home'] } }, call);
  await portal.segments.create({ name: 'c', condition: costly(2) }, call);
});
