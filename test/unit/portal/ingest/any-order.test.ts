import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { FakeClock } from '../../../support/fake-clock.ts';
import { openPeople, type PeopleBench } from '../../../support/portal-people.ts';

/*
 * What is promised of arrival in any order, over the real database: whatever batches the messages come in, and in
 * whatever order, the person ends up the same; and nothing that one workspace sends is ever seen in another.
 */
const clock = new FakeClock(Date.UTC(2026, 10, 21));
let portal: PeopleBench;
let runs = 0;
before(async () => {
  portal = await openPeople(clock);
});
after(() => portal.close());

const traits = fc.dictionary(fc.constantFrom('plan', 'city', 'email'), fc.constantFrom('a@b.cd', 'e@f.gh', null), { maxKeys: 3 }).map((d) => ({ ...d }));
const said = fc.record({ as: fc.constantFrom('visitor', 'user', 'both'), visitor: fc.constantFrom('v1', 'v2'), traits });

test('a visitor who becomes known ends up the same, however the messages arrive', async () => {
  const shuffled = fc.array(said, { minLength: 1, maxLength: 6 }).chain((messages) => fc.tuple(fc.constant(messages), fc.shuffledSubarray([...messages.keys()], { minLength: messages.length }), fc.array(fc.boolean(), { minLength: messages.length, maxLength: messages.length })));
  await fc.assert(
    fc.asyncProperty(shuffled, async ([messages, order, cuts]) => {
      const result = async (indices: readonly number[], together: readonly boolean[]) => {
        const run = `r${++runs}-`;
        const items = indices.map((i) => {
          const { as, visitor, traits: given } = messages[i]!;
          const ids = { ...(as !== 'user' && { anonymousId: run + visitor }), ...(as !== 'visitor' && { userId: `${run}u` }) };
          return { type: 'identify', messageId: `${run}${i}`, timestamp: new Date(clock.now() - 100_000 + i * 1_000).toISOString(), ...ids, traits: given };
        });
        // Whoever is named with the user is her in the end, so that all of it speaks of one person.
        items.push(...['v1', 'v2'].map((visitor) => ({ type: 'identify', messageId: run + visitor, timestamp: new Date(clock.now()).toISOString(), userId: `${run}u`, anonymousId: run + visitor, traits: {} })));
        let batch: object[] = [];
        for (const [i, item] of items.entries()) {
          batch.push(item);
          if (together[i] === true) continue;
          await portal.ingest(batch);
          batch = [];
        }
        if (batch.length > 0) await portal.ingest(batch);
        const person = await portal.user(`${run}u`);
        return { email: person.email, attributes: Object.fromEntries(Object.entries(person.attributes).sort()) };
      };
      assert.deepEqual(await result(order, cuts), await result([...messages.keys()], []));
    }),
    { numRuns: 40 },
  );
});

test('what one workspace sends is never seen in another, whatever ids both use', async () => {
  const item = fc.record({ type: fc.constantFrom('track', 'identify', 'alias', 'group'), userId: fc.constantFrom('a', 'b'), anonymousId: fc.constantFrom('a', 'b', undefined), previousId: fc.constantFrom('a', 'b', 'c'), groupId: fc.constant('g'), event: fc.constant('e'), messageId: fc.constantFrom('m1', 'm2', 'm3', 'm4', undefined) });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.boolean(), item), { maxLength: 10 }), async (sent) => {
      const [mine, theirs] = [`w${++runs}`, `w${++runs}`];
      for (const [isMine, message] of sent) {
        const secret = isMine ? 'mine' : 'theirs';
        await portal.ingest([{ ...message, traits: { secret }, properties: { secret } }], { workspace: isMine ? mine : theirs });
      }
      for (const [workspace, foreign] of [[mine, 'theirs'], [theirs, 'mine']] as const) {
        const call = portal.call(workspace);
        const people = await portal.people.list({ limit: 100 }, call);
        const everything = [people, await portal.timeline.recent({ limit: 100 }, call), await portal.problems.list(workspace, { limit: 100 }), ...(await Promise.all(people.map((p) => portal.timeline.list(p.personId, { limit: 100 }, call))))];
        assert.ok(!JSON.stringify(everything).includes(`"${foreign}"`));
        const groups = await portal.store.db.selectFrom('groups').selectAll().where('workspace_id', '=', workspace).execute();
        assert.ok(!JSON.stringify(groups).includes(foreign));
      }
    }),
    { numRuns: 40 },
  );
});
