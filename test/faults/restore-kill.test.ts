import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { requireWhole } from '../../src/app/backup/unfinished.ts';
import type { Config } from '../../src/app/config/config.ts';
import { prepareDataDir } from '../../src/app/host/data-dir.ts';
import { parts } from '../../src/app/parts.ts';
import { fabricMigrations } from '../../src/fabric/tables.ts';
import { backUp, configFor, contentsOf, fill, installation, removeAll, restoreTo, root, withDatabases } from '../support/backups.ts';
import { bareEnvironment } from '../support/bare-environment.ts';
import { isLong } from '../support/campaign.ts';
import { rejectsWith } from '../support/faults.ts';
import { PostgresServer } from '../support/postgres.ts';
import { seeded } from '../support/seed.ts';

const MAIN = join(import.meta.dirname, '../../src/main.js');
const ROUNDS = isLong ? 40 : 1;
/** About what a restore takes from its first step on. */
const LONGEST_MS = 2_500;

const postgres = new PostgresServer();
before(() => postgres.start());
after(async () => {
  await postgres.remove();
  removeAll();
});

/** As a host does that starts on the databases. */
function started(config: Config): Promise<void> {
  const portal = parts.modules.find(({ name }) => name === 'portal')!;
  return withDatabases(config, (databases) => databases.get('portal')!.migrate([...fabricMigrations, ...portal.migrations]));
}

/** Rows have been written to a database of that name. */
function isBegun(database: string): boolean {
  return postgres.query("SELECT coalesce(pg_relation_size(to_regclass('portal.ingest_problems')), 0) > 0", database) === 't';
}

test('a restore that is killed leaves nothing that a host starts on, and the next one begins anew', async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const config = configFor(join(root, 'original'));
  await installation(config);
  await fill(config, 600);
  const file = await backUp(config, join(root, 'original.gz'));
  for (let round = 0; round < ROUNDS; round++) {
    const database = `copy${round}`;
    const onServer = round % 2 === 0;
    if (onServer) postgres.query(`CREATE DATABASE ${database} OWNER app`);
    const storage = onServer ? { ...postgres.section, database } : undefined;
    const copy = configFor(join(root, database), storage);
    const restoring = spawn(process.execPath, [MAIN, 'restore', file, '--topology', copy.topology], { env: bareEnvironment(), stdio: 'ignore' });
    const exited = once(restoring, 'exit');
    // The first is killed for sure among the rows, the others anywhere from the first step to the end.
    if (round === 0) while (!isBegun(database)) await pause(20);
    else {
      while (!existsSync(join(copy.dataDir, 'restore-unfinished.json'))) await pause(1);
      await pause(random.whole(LONGEST_MS));
    }
    restoring.kill('SIGKILL');
    await exited;
    const isWhole = existsSync(join(copy.dataDir, 'installation.json')) && !existsSync(join(copy.dataDir, 'restore-unfinished.json'));
    assert.ok(!isWhole || round > 0);
    if (!isWhole) {
      assert.throws(() => requireWhole(copy.dataDir), /has not come to its end/);
      // Nor from another data directory.
      const elsewhere = configFor(join(root, `${database}-elsewhere`), storage);
      prepareDataDir(elsewhere.dataDir);
      if (round === 0) await rejectsWith('unavailable', started(elsewhere), 'restore_unfinished');
      await restoreTo(copy, file);
    }
    await started(copy);
    assert.deepEqual(contentsOf(await backUp(copy, join(root, `${database}.gz`))), contentsOf(file));
  }
});
