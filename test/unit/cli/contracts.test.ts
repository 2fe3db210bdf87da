import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BootProblem } from '../../../src/app/host/boot-problem.ts';
import { ConfigError } from '../../../src/app/config/problem.ts';
import { parse, UsageError, type Io } from '../../../src/cli/command.ts';
import { contracts } from '../../../src/cli/contracts.ts';

const root = mkdtempSync(join(tmpdir(), 'multilith-contracts-'));
after(() => rmSync(root, { recursive: true, force: true }));

async function run(...argv: string[]): Promise<string> {
  const lines: string[] = [];
  const io: Io = { env: {}, cwd: root, out: (text) => lines.push(text), error: (text) => lines.push(text) };
  assert.equal(await contracts.run(parse(contracts, argv), io), 0);
  return lines.join('\n');
}

const contentOf = (folder: string) => Object.fromEntries((readdirSync(join(root, folder), { recursive: true }) as string[]).filter((path) => path.endsWith('.json')).sort().map((path) => [path, readFileSync(join(root, folder, path), 'utf8')]));

test('two exports are the same bytes, and say which files they are', async () => {
  const { folder, files } = JSON.parse(await run('export', '--out', 'first', '--json')) as { folder: string; files: string[] };
  assert.equal(folder, join(root, 'first'));
  assert.match(await run('export', '--out', 'second'), new RegExp(`^${files.length} files in .*second\\.$`));
  const first = contentOf('first');
  assert.deepEqual(Object.keys(first), files);
  assert.deepEqual(contentOf('second'), first);
});

test('a schema that is no more goes with the next export, and nothing that is not ours', async () => {
  await run('export');
  writeFileSync(join(root, 'contracts', 'messages', 'portal.gone.schema.json'), '{}');
  writeFileSync(join(root, 'contracts', 'messages', 'notes.txt'), 'mine');
  writeFileSync(join(root, 'contracts', 'package.json'), '{}');
  await run('export');
  const left = readdirSync(join(root, 'contracts'), { recursive: true }) as string[];
  assert.ok(!left.includes(join('messages', 'portal.gone.schema.json')));
  assert.ok(left.includes(join('messages', 'notes.txt')) && left.includes('package.json'));
});

test('what is not clear is refused', async () => {
  await assert.rejects(run(), UsageError);
  await assert.rejects(run('exprt'), /Did you mean "export"/);
  await assert.rejects(async () => run('export', 'here'), UsageError);
  await assert.rejects(async () => run('export', '--outt', 'x'), UsageError);
  await assert.rejects(run('export', '--set', 'bus.driver=carrier'), ConfigError);
});

test('a folder that cannot be made is named, with what to do', async () => {
  writeFileSync(join(root, 'a-file'), '');
  await assert.rejects(run('export', '--out', 'a-file'), (error) => error instanceof BootProblem && /a-file \(E(NOTDIR|EXIST)\)/.test(error.message) && /--out/.test(error.remedy));
});
