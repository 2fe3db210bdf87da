import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rotation } from '../../../../../adapters/bus/embedded/rotation.ts';

/** Serves once and says who it was. */
function serve(rotation: Rotation): number | undefined {
  const stream = rotation.first();
  if (stream !== undefined) rotation.served(stream);
  return stream?.workspace;
}

test('serves workspaces in turn; a new one comes after those that wait', () => {
  const rotation = new Rotation();
  for (const workspace of [1, 2, 3]) rotation.add(workspace, 10, 0, false);
  assert.deepEqual([serve(rotation), serve(rotation)], [1, 2]);
  rotation.add(4, 11, 0, false);
  assert.deepEqual([1, 2, 3, 4].map(() => serve(rotation)), [3, 1, 2, 4]);
});

test('an earlier message turns a stream back, a later one does not', () => {
  const rotation = new Rotation();
  rotation.add(1, 10, 100, false);
  const stream = rotation.first()!;
  stream.after = 20;
  stream.headDue = 200;
  rotation.add(1, 21, 150, false);
  assert.deepEqual([stream.after, stream.headDue], [20, 200]);
  rotation.add(1, 5, 90, false);
  assert.deepEqual([stream.after, stream.headDue], [4, 90]);
});

test('paused workspaces stand aside and keep their place in the counting of age', () => {
  const rotation = new Rotation();
  rotation.add(1, 10, 100, false);
  rotation.add(2, 11, 50, true);
  rotation.pause(1);
  rotation.pause(3);
  assert.deepEqual([rotation.first(), rotation.size, rotation.oldestDue()], [undefined, 0, 50]);
  rotation.resume(2);
  rotation.resume(1);
  assert.deepEqual([serve(rotation), serve(rotation), rotation.size], [2, 1, 2]);
  rotation.drained(rotation.first()!);
  assert.deepEqual([rotation.size, rotation.oldestDue()], [1, 100]);
});
