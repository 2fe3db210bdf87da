import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A directory of its own file system in memory, as small as wanted. */
export function tmpfs(t: TestContext, size: string): string {
  const path = mkdtempSync(join(tmpdir(), 'multilith-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path]);
  t.after(() => {
    execFileSync('umount', ['--lazy', path]);
    rmSync(path, { recursive: true });
  });
  return path;
}

/** The disk has grown. */
export function grow(path: string, size: string): void {
  execFileSync('mount', ['-o', `remount,size=${size}`, path]);
}

/** Writes until the disk takes nothing more. Answers the file that is in the way. */
export function fill(path: string): string {
  const ballast = join(path, 'ballast');
  for (const bytes of [1_048_576, 65_536, 4_096, 1]) {
    try {
      for (;;) writeFileSync(ballast, Buffer.alloc(bytes), { flag: 'a' });
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
    }
  }
  return ballast;
}
