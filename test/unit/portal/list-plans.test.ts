import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { mock, test } from 'node:test';
import { CompiledQuery } from 'kysely';
import { peopleByEmail } from '../../../modules/portal/people/people-rows.ts';
import { Templates } from '../../../modules/portal/templates/templates.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { openPeople } from '../../support/portal-people.ts';

/* What a page costs must not hang on how much a workspace holds: each list enters an index where the page begins. */
test('the next page of every list begins where the one before ended', async () => {
  const clock = new FakeClock();
  const bench = await openPeople(clock);
  const { people, timeline, problems, store } = bench;
  const templates = new Templates(store, clock, {} as never);
  const call = bench.call();
  const { personId } = await people.create({ userId: 'u' }, call);
  const limit = 10;
  const { segmentId: segment } = await bench.segments.create({ name: 'S', condition: { all: [] } }, call);
  const lists: [() => Promise<unknown>, from: string, plan: string, of?: string][] = [
    [() => people.list({ limit, before: 'x' }, call), 'people', 'people_by_staying (workspace_id=? AND gone=? AND id<?)'],
    [() => people.list({ limit, email: 'a', before: '["a","x"]' }, call), 'people', 'people_by_email (workspace_id=? AND (email_key,id)>(?,?) AND email_key<?)'],
    [() => people.list({ limit, userId: 'a', before: '["a","x"]' }, call), 'people', 'people_by_user_id (workspace_id=? AND (user_id,id)>(?,?) AND user_id<?)'],
    [() => people.list({ limit, segment, before: 'x' }, call), 'people', 'people_by_staying (workspace_id=? AND gone=? AND id=?)', 'segment_members USING PRIMARY KEY (workspace_id=? AND segment_id=? AND person_id<?)'],
    [() => timeline.list(personId, { limit, before: { time: 1, id: 'x' } }, call), 'events', 'events_by_person (person_id=? AND (time,id)>(?,?) AND (time,id)<(?,?))'],
    [() => timeline.recent({ limit, before: 'x' }, call), 'events', 'events_by_workspace (workspace_id=? AND id<?)'],
    [() => problems.list('w1', { limit, before: 'x' }), 'ingest_problems', 'ingest_problems_by_workspace (workspace_id=? AND id<?)'],
    [() => templates.list({ limit, order: 'newest', after: { name: 'x', id: 'x' } }, call), 'templates', 'templates_by_workspace (workspace_id=? AND id<?)'],
    [() => templates.list({ limit, order: 'name', after: { name: 'x', id: 'x' } }, call), 'templates', 'templates_by_name (workspace_id=? AND (name,id)>(?,?))'],
  ];
  const prepare = mock.method(DatabaseSync.prototype, 'prepare');
  for (const [list, from, plan, of] of lists) {
    prepare.mock.resetCalls();
    await list();
    const texts = prepare.mock.calls.map((one) => one.arguments[0]).filter((text) => text.includes(`from "${from}" where`) && text.includes('order by'));
    assert.equal(texts.length, 1, plan);
    const { rows } = await store.db.executeQuery<{ detail: string }>(CompiledQuery.raw(`explain query plan ${texts[0]!.replaceAll('?', 'null')}`));
    // One step, or two where a table says which rows: no sorting after it.
    assert.deepEqual(rows.map((row) => row.detail), [`SEARCH ${from} USING INDEX ${plan}`, ...(of === undefined ? [] : ['LIST SUBQUERY 1', `SEARCH ${of}`])]);
  }
  prepare.mock.restore();
  await bench.close();
});

test('whoever has an address is found by it', async () => {
  const bench = await openPeople(new FakeClock());
  const { sql } = peopleByEmail.build(bench.store.db).compile();
  const { rows } = await bench.store.db.executeQuery<{ detail: string }>(CompiledQuery.raw(`explain query plan ${sql.replaceAll('?', 'null')}`));
  assert.deepEqual(rows.map((row) => row.detail), ['SEARCH people USING INDEX people_by_email (workspace_id=? AND email_key=?)']);
  await bench.close();
});
