import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fingerprintOf, SameInstallation } from '../../../../src/app/host/same-installation.ts';
import type { HostStatus } from '../../../../src/kernel/system.ts';
import type { Log } from '../../../../src/kernel/telemetry.ts';
import { silentLog } from '../../../support/context.ts';

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
  const problems = same.problems().map(({ detail }) => detail);
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

test('a process whose host is called elsewhere is told to be one of two, but not for one that was just killed', async (t) => {
  const replica = (process: string) => ({ address: '10.0.0.5:7072', number: 1, process, state: 'open', pending: 0, problem: null, bytesSent: 0, bytesReceived: 0 });
  const called = (process: string): HostStatus => ({ ...statusOf('app', fingerprintOf(secret)), edges: [{ to: 'notification', host: 'mailer', via: 'rpc', callsPerSecond: 0, failedPerSecond: 0, p50Ms: null, p99Ms: null, calls: 0, failed: 0, retried: 0, pending: 0, cache: null, replicas: [replica(process)] }] as HostStatus['edges'] });
  for (const [answers, isTold] of [[['old', 'old', 'old'], true], [['old', 'this', 'this'], false]] as const) {
    let looks = 0;
    const three = Promise.withResolvers<void>();
    const others = async () => {
      if (looks === 2) setImmediate(three.resolve);
      return [called(answers[looks++] ?? answers[2])];
    };
    const logged: object[] = [];
    const log: Log = { ...silentLog, error: (fields) => void logged.push(fields) };
    const same = new SameInstallation({ fingerprint: fingerprintOf(secret), others, own: { host: 'mailer', process: 'this' }, log, everyMs: 1 });
    t.after(() => same.stop(1_000));
    await same.start();
    await three.promise;
    const [problem] = same.problems();
    assert.deepEqual([problem !== undefined, logged.length], [isTold, isTold ? 1 : 0]);
    if (problem === undefined) continue;
    assert.match(problem.detail, /^mailer: .* at 10\.0\.0\.5:7072, and both take its messages\. Stop one/);
    assert.ok(!problem.plain.includes('10.0.0.5'));
  }
});
