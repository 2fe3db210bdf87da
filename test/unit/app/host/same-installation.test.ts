import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fingerprintOf, SameInstallation } from '../../../../src/app/host/same-installation.ts';
import type { HostStatus } from '../../../../src/kernel/system.ts';
import type { Log } from '../../../../src/kernel/telemetry.ts';

const secret = new Uint8Array(32).fill(7);

function statusOf(host: string, installation: string): HostStatus {
  return { host, process: host, address: null, installation, phase: 'ready', uptimeSeconds: 1, memoryMb: 1, modules: [], edges: [], queues: null, problems: [] };
}

async function look(others: readonly HostStatus[]): Promise<{ problems: string[]; logged: object[] }> {
  const logged: object[] = [];
  const log: Log = { debug() {}, info() {}, warn() {}, error: (fields) => void logged.push(fields), child: () => log };
  const answered = Promise.withResolvers<void>();
  const same = new SameInstallation({ fingerprint: fingerprintOf(secret), others: async () => (setImmediate(answered.resolve), others), log });
  await same.start();
  await answered.promise;
  const problems = same.problems();
  await same.stop(1_000);
  return { problems, logged };
}

test('a host that was started without the installation of the others is named, once in the log', async () => {
  const { problems, logged } = await look([statusOf('app', fingerprintOf(secret)), statusOf('mailer', fingerprintOf(new Uint8Array(32).fill(8)))]);
  assert.match(problems.join('\n'), /^mailer: it has another installation.json/);
  assert.deepEqual(logged, [{ hosts: ['mailer'] }]);
});

test('hosts of one installation are no problem', async () => {
  assert.deepEqual(await look([statusOf('mailer', fingerprintOf(secret))]), { problems: [], logged: [] });
});

test('a fingerprint shows nothing of the secret', () => {
  assert.match(fingerprintOf(secret), /^[0-9a-f]{16}$/);
  assert.ok(!Buffer.from(secret).toString('hex').includes(fingerprintOf(secret)));
});
