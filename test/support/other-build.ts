import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext as Test } from 'node:test';

const ROOT = join(import.meta.dirname, '../../..');

/** A copy of this build in which one file reads otherwise; answers its program. */
export function otherBuild(t: Test, file: string, from: string, to: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'multilith-build-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const part of ['src', 'modules', 'adapters']) cpSync(join(ROOT, 'dist', part), join(folder, 'dist', part), { recursive: true });
  for (const part of ['node_modules', 'dist/node_modules', 'config', 'package.json']) symlinkSync(join(ROOT, part), join(folder, part));
  const path = join(folder, 'dist', file);
  const text = readFileSync(path, 'utf8');
  if (!text.includes(from)) throw new Error(`${file} does not say ${from}`);
  writeFileSync(path, text.replace(from, to));
  return join(folder, 'dist/src/main.js');
}
