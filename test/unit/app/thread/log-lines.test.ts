import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Log } from '../../../../src/kernel/telemetry.ts';
import { logTo, writeLine } from '../../../../src/app/thread/log-lines.ts';
import type { LogLine } from '../../../../src/app/thread/protocol.ts';
import { Pulse } from '../../../../src/app/thread/pulse.ts';

class NoSuchTable extends Error {
  readonly code = 'E42';
}

test('a line is written by the host as if it had been written there', () => {
  const sent: LogLine[] = [];
  const log = logTo((line) => void sent.push(line), 'info', new Pulse());
  log.child({ module: 'mailer' }).child({ queue: 'q' }).error({ n: 1, err: new NoSuchTable('gone', { cause: new Error('the reason') }) }, 'it broke');
  log.debug({}, 'nobody wants to know');
  assert.equal(sent.length, 1);
  const written: unknown[] = [];
  const host = { error: (fields: object, message: string) => void written.push(fields, message) } as Log;
  writeLine(host, structuredClone(sent[0]!));
  const [{ err, ...fields }, message] = written as [{ err: NoSuchTable }, string];
  assert.deepEqual([message, fields], ['it broke', { module: 'mailer', queue: 'q', n: 1 }]);
  assert.deepEqual([err instanceof Error, err.constructor.name, err.code], [true, 'NoSuchTable', 'E42']);
  assert.match(err.stack!, /gone[^]*log-lines\.test[^]*the reason/);
});

test('a field that is not JSON does not take the line with it', () => {
  const sent: LogLine[] = [];
  const cycle: { self?: object } = {};
  cycle.self = cycle;
  logTo((line) => void sent.push(line), 'info', new Pulse()).info({ cycle }, 'round and round');
  assert.equal(sent[0]!.message, 'round and round');
});

test('an error that is not JSON as a whole keeps its words', () => {
  const sent: LogLine[] = [];
  const err = Object.assign(new RangeError('too far'), { self: {} });
  err.self = { err };
  logTo((line) => void sent.push(line), 'info', new Pulse()).error({ err: Object.assign(err, { bytes: 1n }) }, 'it broke');
  const written: { err: Error }[] = [];
  writeLine({ error: (fields: object) => void written.push(fields as never) } as never, sent[0]!);
  assert.deepEqual([written[0]!.err.constructor.name, written[0]!.err.message], ['RangeError', 'too far']);
});

test('lines that the host does not take are dropped beyond a bound, and it is told how many', () => {
  const pulse = new Pulse();
  const host = new Pulse(pulse.shared);
  const sent: LogLine[] = [];
  const log = logTo((line) => void sent.push(line), 'info', pulse);
  for (let i = 0; i < 5_500; i++) log.info({ i }, 'line');
  assert.equal(sent.length, 5_000);
  for (let i = 0; i < 5_000; i++) host.lineTaken();
  log.info({}, 'after');
  assert.deepEqual(sent.slice(5_000).map(({ message, fields }) => [message, fields]), [
    ['log lines were dropped, since the host did not take them', '{"dropped":500}'],
    ['after', '{}'],
  ]);
});
