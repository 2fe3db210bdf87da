import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { idBeside, idFrom, newId } from '../../../src/kernel/ids.ts';

describe('newId', () => {
  it('makes UUIDs of version 7 that rise strictly, far beyond what one millisecond holds', () => {
    const ids = Array.from({ length: 50_000 }, newId);
    for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.deepEqual([...ids].sort(), ids);
    assert.equal(new Set(ids).size, ids.length);
  });
});

describe('idFrom', () => {
  it('is the same for the same parts and for no others', () => {
    assert.match(idFrom('a', 1), /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(idFrom('a', 1), idFrom('a', 1));
    assert.equal(new Set([idFrom('a', 1), idFrom('a', '1'), idFrom('a1'), idFrom('a', 1, ''), idFrom(1, 'a')]).size, 5);
  });
});

describe('idBeside', () => {
  it('is the same for the same parts and for no others, and in the order of the ids that it is made for', () => {
    const [first, sameTime] = [newId(), newId()];
    const later = 'ffffffff-0000-7000-8000-000000000000';
    assert.match(idBeside(first, 'a'), /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(idBeside(first, 'a', first), idBeside(first, 'a', first));
    assert.equal(new Set([idBeside(first, 'a'), idBeside(first, 'b'), idBeside(first, 'a', first), idBeside(sameTime, 'a', sameTime), idFrom('a')]).size, 5);
    for (const part of ['a', 'b', 'c', 'd']) assert.ok(idBeside(first, part) < idBeside(later, 'x'));
    assert.equal(idBeside(idBeside(first, 'a'), 'b').slice(0, 13), first.slice(0, 13));
  });
});
