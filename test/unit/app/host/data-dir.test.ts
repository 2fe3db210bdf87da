import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BootProblem } from '../../../../src/app/host/boot-problem.ts';
import { prepareDataDir } from '../../../../src/app/host/data-dir.ts';

const folder = mkdtempSync(join(tmpdir(), 'multilith-data-dir-'));
after(() => rmSync(folder, { recursive: true }));

test('a data directory is made with its parents, for its owner only', () => {
  const dataDir = join(folder, 'a', 'b');
  prepareDataDir(dataDir);
  prepareDataDir(dataDir);
  assert.equal(statSync(dataDir).mode & 0o777, 0o700);
});

test('where none can be made, it says so at once', { timeout: 10_000 }, () => {
  writeFileSync(join(folder, 'file'), '');
  symlinkSync(join(folder, 'nowhere'), join(folder, 'link'));
  // Node's recursive mkdir never returns from /proc.
  const places = [join(folder, 'file'), join(folder, 'file', 'x'), join(folder, 'link'), ...(process.platform === 'linux' ? ['/proc/multilith/data'] : [])];
  for (const place of places) assert.throws(() => prepareDataDir(place), (error: unknown) => error instanceof BootProblem && error.message.includes(place), place);
});
