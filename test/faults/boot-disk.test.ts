import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { askHost } from '../../src/app/control/client.ts';
import { runCli } from '../support/cli.ts';
import { Multilith } from '../support/multilith.ts';
import { fill, tmpfs } from '../support/tmpfs.ts';

const startOn = (dataDir: string) => runCli(['start'], { env: { MULTILITH_DATA: dataDir, MULTILITH_HTTP_LISTEN: '127.0.0.1:0' } });

function assertClear({ code, error }: { code: number | null; error: string }, path: string): void {
  assert.equal(code, 1, error);
  assert.ok(error.includes(path), error);
  assert.ok(!error.includes('\n    at '), error);
}

test('a data directory on a read-only file system is a clear error, with data in it or without', async (t) => {
  const path = tmpfs(t, '50m');
  await (await Multilith.start({ dataDir: path })).stop();
  execFileSync('mount', ['-o', 'remount,ro', path]);
  assertClear(await startOn(path), path);
  assertClear(await startOn(join(path, 'new')), path);
  execFileSync('mount', ['-o', 'remount,rw', path]);
  await (await Multilith.start({ dataDir: path })).stop();
});

test('a first start on a full disk is a clear error and leaves nothing half made', async (t) => {
  const path = tmpfs(t, '8m');
  fill(path);
  assertClear(await startOn(path), path);
  rmSync(join(path, 'ballast'));
  await (await Multilith.start({ dataDir: path })).stop();
});

test('a first start on a disk that runs full half way is a clear error', async (t) => {
  const path = tmpfs(t, '8m');
  fill(path);
  // Room for the lock and the secret, not for the databases.
  truncateSync(join(path, 'ballast'), statSync(join(path, 'ballast')).size - 65_536);
  const { code, error } = await startOn(path);
  assert.equal(code, 1);
  assert.match(error, /full|space/i);
  rmSync(join(path, 'ballast'));
  await (await Multilith.start({ dataDir: path })).stop();
});

test('when the disk fills while it runs, nothing is accepted until there is room, and it goes on by itself', async (t) => {
  const path = tmpfs(t, '400m');
  const server = await Multilith.start({ dataDir: path });
  t.after(() => server.dispose());
  const { secret } = (await askHost(path, 'app', 'POST', '/operator/portal/demo-key', {})) as { secret: string };
  const post = async () => {
    const response = await fetch(`${server.url}/v1/track`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ writeKey: secret, userId: 'u-1', event: 'Quote Requested' }) });
    await response.arrayBuffer();
    return { status: response.status, retryAfter: response.headers.get('retry-after') };
  };
  assert.equal((await post()).status, 200);
  fill(path);
  const refused = await until(post, ({ status }) => status !== 200);
  assert.ok([429, 503].includes(refused.status) && refused.retryAfter !== null, JSON.stringify(refused));
  assert.equal((await fetch(`${server.url}/livez`)).status, 200);
  const problems = async () => ((await (await fetch(`${server.url}/readyz`)).json()) as { problems: string[] }).problems;
  await until(problems, (told) => told.some((problem) => /^The disk of the bus has 0 MB free.* Make room/.test(problem)));
  rmSync(join(path, 'ballast'));
  await until(post, ({ status }) => status === 200);
  await until(problems, (told) => told.length === 0);
});

async function until<T>(ask: () => Promise<T>, enough: (answer: T) => boolean): Promise<T> {
  for (const deadline = Date.now() + 30_000; ; await new Promise((resolve) => setTimeout(resolve, 200))) {
    const answer = await ask();
    if (enough(answer)) return answer;
    assert.ok(Date.now() < deadline, JSON.stringify(answer));
  }
}
