import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RefusedConnections } from '../../../../src/app/host/refused-connections.ts';
import type { Log } from '../../../../src/kernel/telemetry.ts';
import { silentLog } from '../../../support/context.ts';

const MINUTE_MS = 60_000;

/** Lines as `from: connections`. */
function refusing() {
  const lines: string[] = [];
  const log: Log = { ...silentLog, warn: (fields) => void lines.push(`${(fields as { from?: string }).from}: ${(fields as { connections: number }).connections}`) };
  const clock = { ms: 0 };
  const refused = new RefusedConnections(log, () => clock.ms);
  return { lines, clock, from: (address: string, cause = 'no secret') => refused.note(cause, address, 'It has another secret.') };
}

test('each address is one line a minute, with how often it came since the last one', () => {
  const { lines, clock, from } = refusing();
  for (let n = 0; n < 100; n++) for (const address of ['10.0.0.1', '10.0.0.2']) from(address);
  assert.deepEqual(lines, ['10.0.0.1: 1', '10.0.0.2: 1']);
  clock.ms = MINUTE_MS;
  from('10.0.0.1');
  assert.deepEqual(lines.slice(2), ['10.0.0.1: 100']);
  from('10.0.0.1', 'no certificate');
  assert.deepEqual(lines.slice(3), ['10.0.0.1: 1']);
});

test('strangers from ever more addresses share a line, and are forgotten after their minute', () => {
  const { lines, clock, from } = refusing();
  for (let n = 0; n < 100_000; n++) from(`10.0.${n >> 8}.${n & 255}`);
  assert.equal(lines.length, 65);
  clock.ms = MINUTE_MS;
  from('10.9.9.9');
  assert.deepEqual(lines.slice(65), ['10.9.9.9: 1']);
});
