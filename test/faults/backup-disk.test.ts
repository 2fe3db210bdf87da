import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { OwnDesk } from '../../src/app/backup/own-desk.ts';
import { momentOf } from '../../src/app/backup/moment.ts';
import { requireWhole } from '../../src/app/backup/unfinished.ts';
import { writeBackup } from '../../src/app/backup/write-backup.ts';
import { BootProblem } from '../../src/app/host/boot-problem.ts';
import { backUp, configFor, contentsOf, fill, installation, removeAll, restoreTo, root, withDatabases } from '../support/backups.ts';
import { bareEnvironment } from '../support/bare-environment.ts';
import { isLong } from '../support/campaign.ts';
import { rejectsWith } from '../support/faults.ts';
import { grow, tmpfs } from '../support/tmpfs.ts';

after(removeAll);

const MAIN = join(import.meta.dirname, '../../src/main.js');
const ROWS = 400;
/** More than the heap that it must do with. */
const MB = isLong ? 1_000 : 160;

test('a disk that fills up under a backup ends it and leaves nothing, and under a restore what the next one begins anew in', async (t) => {
  const config = configFor(join(root, 'original'));
  await installation(config);
  await fill(config, ROWS);
  const small = tmpfs(t, '256k');
  await withDatabases(config, async (databases) => {
    const { sources, close } = await momentOf({ participants: () => [{ name: 'this', desk: new OwnDesk({ databases }) }], expected: [] });
    const writing = writeBackup({ file: join(small, 'full.gz'), sources, created: new Date(), installation: '', minFreeBytes: 0, signal: new AbortController().signal, onProgress() {} });
    await rejectsWith('exhausted', writing, 'disk_full');
    await close();
  });
  assert.deepEqual(readdirSync(small), []);

  const file = await backUp(config, join(root, 'original.gz'));
  const target = configFor(join(small, 'copy'));
  await assert.rejects(restoreTo(target, file), (error: Error) => error instanceof BootProblem && /bytes left, and the backup needs about/.test(error.message));
  assert.deepEqual(readdirSync(target.dataDir), []);
  // Room for the rows, and not for the log of what is being written.
  grow(small, `${ROWS * 3 + 800}k`);
  await rejectsWith('exhausted', restoreTo(target, file), 'disk_full');
  assert.throws(() => requireWhole(target.dataDir), /has not come to its end/);
  assert.equal(existsSync(join(target.dataDir, 'installation.json')), false);
  grow(small, '64m');
  await restoreTo(target, file);
  requireWhole(target.dataDir);
  assert.deepEqual(contentsOf(await backUp(target, join(root, 'again.gz'))), contentsOf(file));
});

test('a small file that unpacks to a hundred times as much costs neither memory nor disk', async () => {
  const header = JSON.stringify({ multilith: 'backup', format: 1, created: '', installation: '', databases: [{ name: 'portal', migrations: [] }] });
  const head = JSON.stringify({ database: 'portal', table: 'people', columns: ['id'] });
  const megabyte = gzipSync(`${JSON.stringify(['x'.repeat(16_379)])}\n`.repeat(64), { level: 1 });
  const bomb = join(root, 'bomb.gz');
  // Parts of a gzip file follow each other.
  writeFileSync(bomb, Buffer.concat([gzipSync(`${header}\n${head}\n`), ...Array.from({ length: MB }, () => megabyte)]));
  assert.ok(statSync(bomb).size < MB * 10_486);
  const target = configFor(join(root, 'small-copy'));
  const child = spawn(process.execPath, ['--max-old-space-size=96', MAIN, 'restore', bomb, '--topology', target.topology], { env: bareEnvironment(), stdio: ['ignore', 'ignore', 'pipe'] });
  const [[code], said] = await Promise.all([once(child, 'close'), text(child.stderr)]);
  assert.equal(code, 1, said);
  assert.match(said, /cut off or damaged/);
  assert.equal(existsSync(target.dataDir), false);
});
