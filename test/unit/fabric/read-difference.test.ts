import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readDifference, traitsOf } from '../../../src/fabric/read-difference.ts';

const shapes = [{ name: 'people', columns: ['id', 'email', 'name'], numbered: null, key: ['id', 'email'] }];
const ana = { id: 1, email: 'ana@example.com', name: 'Ana' };
const ben = { id: 2, email: 'ben@example.com', name: 'Ben' };

test('a query says which tables it reads, and whether the order of its rows means something', () => {
  assert.deepEqual(traitsOf('select * from "people" inner join "events" on 1 = 1 left join people as p on true order by "name"'), { tables: ['people', 'events'], isOrdered: true });
  assert.deepEqual(traitsOf('select count(*) from (select id from "people" order by "name" limit 3) as some'), { tables: ['people'], isOrdered: false });
  assert.deepEqual(traitsOf('SELECT x FROM t WHERE a = (SELECT max(b) FROM u) ORDER  BY x'), { tables: ['t', 'u'], isOrdered: true });
});

test('answers are the same row by row, in any order where the query asks for none, whatever the order of their columns', () => {
  const of = (isOrdered: boolean) => ({ tables: ['people'], isOrdered });
  assert.equal(readDifference([ana, ben], [ana, { name: 'Ben', email: 'ben@example.com', id: 2 }], of(true), shapes), undefined);
  assert.equal(readDifference([ana, ben], [ben, ana], of(false), shapes), undefined);
  assert.equal(readDifference([], [], of(true), shapes), undefined);
  assert.deepEqual(readDifference([ana, ben], [ben, ana], of(true), shapes), { tables: ['people'], oldRows: 2, newRows: 2, isOrder: true, rows: [] });
  assert.equal(readDifference([ana, ana], [ana], of(false), shapes)!.newRows, 1);
});

test('a difference names rows by columns of keys, with nothing personal', () => {
  const found = readDifference([ana, ben], [ana, { ...ben, name: 'Bea' }], { tables: ['people'], isOrdered: false }, shapes)!;
  assert.deepEqual([found.isOrder, found.rows.length], [false, 2]);
  assert.match(found.rows[0]!, /^email=sha256:[0-9a-f]{16}, id=2$/);
  assert.deepEqual(readDifference([{ n: 1 }], [{ n: 2 }], { tables: ['people'], isOrdered: false }, shapes)!.rows, []);
});
