import assert from 'node:assert/strict';
import { test } from 'node:test';
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
