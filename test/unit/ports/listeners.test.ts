import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Log } from '../../../src/kernel/telemetry.ts';
import { Listeners } from '../../../src/ports/listeners.ts';

test('a listener that throws keeps the others from nothing, and the log says where without quoting the event', () => {
  const said: unknown[] = [];
  const line = (fields: object, message: string) => void said.push({ message, ...fields });
  const log: Log = { debug: line, info: line, warn: line, error: line, child: () => log };
  const listeners = new Listeners(log);
  const heard: string[] = [];
  listeners.add(['person.changed'], { message: (_topic, _workspace, payload) => void heard.push(JSON.parse(payload) as string), gap() {} });
  listeners.add(['person.changed'], { message: (_topic, _workspace, payload) => void heard.push(payload), gap() {} });
  listeners.message('person.changed', 'w1', 'Ana Silva');
  assert.deepEqual(heard, ['Ana Silva']);
  const [{ message, topic, error, at }] = said as [{ message: string; topic: string; error: string; at: string[] }];
  assert.deepEqual([said.length, message, topic, error], [1, 'a listener to events threw', 'person.changed', 'SyntaxError']);
  assert.match(at.join(), /listeners\.test/);
  assert.doesNotMatch(JSON.stringify(said), /Ana/);
});
