import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { rowLine, RowSum } from '../../../src/fabric/row-sum.ts';

const LINES = Array.from({ length: 500 }, (_, n) => rowLine({ id: `r${n}`, n, none: null, bytes: Uint8Array.of(n % 256) }, ['id', 'n', 'none', 'bytes']));

function sumOf(lines: readonly string[]): RowSum {
  const sum = new RowSum();
  for (const line of lines) sum.add(line);
  return sum;
}

test('a sum is that of the rows\' SHA-256 in four numbers of 64 bits, as backups have it', () => {
  const lanes = new BigUint64Array(4);
  for (const line of LINES) {
    const digest = createHash('sha256').update(line).digest();
    for (let lane = 0; lane < 4; lane++) lanes[lane]! += digest.readBigUInt64LE(lane * 8);
  }
  assert.equal(sumOf(LINES).hash, Buffer.from(lanes.buffer).toString('hex'));
});

test('order plays no part; a row more, another one, or one of them twice does', () => {
  const { hash, rows } = sumOf(LINES);
  assert.deepEqual([sumOf(LINES.toReversed()).hash, rows], [hash, LINES.length]);
  for (const others of [LINES.slice(1), [...LINES, LINES[0]!], [LINES[1]!, ...LINES.slice(1)]]) assert.notEqual(sumOf(others).hash, hash);
});

test('values of different kinds have different lines, and bytes are told whatever view they come in', () => {
  const lines = ['1', 1, null, 'null', Uint8Array.of(49)].map((value) => rowLine({ value }, ['value']));
  assert.equal(new Set(lines).size, lines.length);
  assert.equal(rowLine({ value: Buffer.from('xay').subarray(1, 2) }, ['value']), rowLine({ value: Uint8Array.of(97) }, ['value']));
});
