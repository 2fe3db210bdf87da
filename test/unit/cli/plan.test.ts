import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { test } from 'node:test';
import { SHIPPED } from '../../../src/app/config/layers.ts';
import { parse, type Io } from '../../../src/cli/command.ts';
import { plan } from '../../../src/cli/plan.ts';

async function run(env: NodeJS.ProcessEnv, ...argv: string[]): Promise<{ code: number; error: string }> {
  const errors: string[] = [];
  const io: Io = { env, cwd: import.meta.dirname, out: () => {}, error: (text) => errors.push(text) };
  return { code: await plan.run(parse(plan, argv), io), error: errors.join('\n') };
}

test('a topology that is not there is blamed on what named it', async () => {
  for (const [env, argv, blamed] of [
    [{}, ['--against', 'nope'], '(--against)'],
    [{}, ['--topology', 'nope'], '(--topology)'],
    [{ MULTILITH_TOPOLOGY: 'nope' }, [], '(MULTILITH_TOPOLOGY)'],
  ] as const) {
    const { code, error } = await run(env, ...argv);
    assert.equal(code, 1);
    assert.deepEqual(error.match(/\((--\w+|MULTILITH_TOPOLOGY)\)/g), [blamed]);
  }
});

test('every topology that is shipped can be run, and says what it wants first', async () => {
  const wanted: Readonly<Record<string, readonly string[]>> = { cluster: ['storage.portal.password', 'storage.trigger.password', 'storage.notification.password', 'hosts.mailer.replicas'] };
  const env = { MODULES_PASSWORD: 'x', MULTILITH_SMTP_URL: 'smtp://mail.example' };
  for (const name of readdirSync(SHIPPED).filter((file) => file.endsWith('.yaml')).map((file) => basename(file, '.yaml'))) {
    const bare = await run({}, '--topology', name);
    assert.deepEqual(bare.error.match(/(?<=^ {2})[\w.]+(?= \()/gm) ?? [], wanted[name] ?? [], bare.error);
    assert.deepEqual(await run(env, '--topology', name), { code: 0, error: '' });
  }
});
