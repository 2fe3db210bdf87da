import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BootProblem } from '../../../src/app/host/boot-problem.ts';
import { parse, type Io } from '../../../src/cli/command.ts';
import { exportCommand } from '../../../src/cli/export.ts';

test('an export to where no file can be is refused before a host is asked for one', async (t) => {
  const cwd = mkdtempSync(join(tmpdir(), 'multilith-export-'));
  t.after(() => rmSync(cwd, { recursive: true }));
  const io: Io = { env: {}, cwd, out: assert.fail, error: assert.fail };
  const refused = (to: string, what: RegExp) => assert.rejects(async () => exportCommand.run(parse(exportCommand, ['people', '--to', to]), io), (error) => error instanceof BootProblem && what.test(error.message) && /--to/.test(error.remedy));
  await refused('nowhere/people.csv', /There is no folder .*nowhere\.$/);
  await refused('.', /is a folder\.$/);
});
