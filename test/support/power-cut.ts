import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/*
 * What a power cut leaves behind. The data directory lies on an ext4 whose disk is a file, and that file on an XFS
 * that can share blocks between files: a copy of it (4 ms, atomic) holds what had been written to the disk at that
 * moment and nothing of what was still in memory. Mounting the copy replays ext4's journal, as the next boot would.
 *
 * The disk is an honest one: what was written to it is kept, whether flushed or not. What a fsync that was left out
 * would cost is therefore shown as far as the page cache holds it back.
 *
 * Needs root, xfsprogs, e2fsprogs and loop devices.
 */

export interface Disk {
  /** A directory on the disk whose power can be cut; for the whole data directory of a process. */
  readonly dataDir: string;
  /** The disk as it is at this moment, mounted elsewhere. To be removed before the next cut where space matters. */
  cut(): CutDisk;
  /** Everything that still uses the disk must have ended. */
  remove(): void;
}

export interface CutDisk {
  /** What `dataDir` would hold after the power is back. */
  readonly dataDir: string;
  remove(): void;
}

export function powerCutDisk(megabytes = 512): Disk {
  const root = mkdtempSync(join(tmpdir(), 'multilith-power-'));
  const pool = join(root, 'pool');
  const live = join(root, 'live');
  const disk = join(pool, 'disk');
  const mounted: string[] = [];
  const remove = (): void => {
    for (const path of mounted.splice(0).reverse()) unmount(path);
    rmSync(root, { recursive: true, force: true });
  };
  try {
    // Sparse: twice the disk in name, little in blocks.
    mountImage(sparse(join(root, 'pool.img'), megabytes * 2 + 300), ['mkfs.xfs', '-q', '-m', 'reflink=1'], pool);
    mounted.push(pool);
    mountImage(sparse(disk, megabytes), ['mkfs.ext4', '-q'], live);
    mounted.push(live);
    const dataDir = join(live, 'data');
    mkdirSync(dataDir);
    run('sync', ['-f', live]);
    let cuts = 0;
    return {
      dataDir,
      cut() {
        const copy = join(pool, `cut-${cuts++}`);
        const path = mkdtempSync(join(root, 'cut-'));
        run('cp', ['--reflink=always', disk, copy]);
        run('mount', ['-o', 'loop', copy, path]);
        mounted.push(path);
        return { dataDir: join(path, 'data'), remove: () => discard(mounted, path, copy) };
      },
      remove,
    };
  } catch (error) {
    remove();
    throw error;
  }
}

function discard(mounted: string[], path: string, copy: string): void {
  unmount(path);
  mounted.splice(mounted.indexOf(path), 1);
  rmSync(path, { recursive: true });
  rmSync(copy);
}

function sparse(path: string, megabytes: number): string {
  writeFileSync(path, '');
  truncateSync(path, megabytes * 1_048_576);
  return path;
}

function mountImage(image: string, [makeFileSystem, ...args]: readonly string[], path: string): void {
  run(makeFileSystem!, [...args, image]);
  mkdirSync(path);
  run('mount', ['-o', 'loop', image, path]);
}

/** Lazily where something still holds it: the kernel finishes when that has let go. */
function unmount(path: string): void {
  try {
    run('umount', [path]);
  } catch {
    run('umount', ['--lazy', path]);
  }
}

function run(command: string, args: readonly string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
}
