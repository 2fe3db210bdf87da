import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { requireConfig } from '../../../../src/app/config/config.ts';
import { KeptStorages } from '../../../../src/app/host/kept-storages.ts';
import { noteStorageMove, readStorageMove } from '../../../../src/app/host/storage-move-file.ts';
import { parts } from '../../../../src/app/parts.ts';
import { contentTables } from '../../../../src/fabric/storage-tables.ts';
import { testContext } from '../../../support/context.ts';

function installation(t: TestContext) {
  const context = testContext();
  t.after(() => context.remove());
  return { context, ...requireConfig({ topology: 'default', env: {}, cwd: context.dataDir, sets: [] }, parts) };
}

test('a process moves only the data of modules that it runs, and runs alone', (t) => {
  const { context, config } = installation(t);
  const kept = (replicas: number) => new KeptStorages({ config: { ...config, hosts: { app: { ...config.hosts['app']!, replicas } } }, parts, context, readTopology: () => config });
  assert.throws(() => kept(1).move('/postgres.yaml', ['portal']), { code: 'invalid', reason: 'module_elsewhere' });
  const several = kept(2);
  several.open('portal');
  assert.throws(() => several.move('/postgres.yaml', ['portal']), { code: 'invalid', reason: 'several_processes' });
});

test('a start goes on without the storage that follows when it cannot be opened, and records no more for it', async (t) => {
  const { context, config } = installation(t);
  const unreadable = () => {
    throw new Error('a secret is missing, for a test');
  };
  const kept = () => new KeptStorages({ config, parts, context, readTopology: unreadable }).open('portal');
  const before = kept();
  await before.start();
  await before.transaction((tx) => tx.db.schema.createTable('rows').addColumn('id', 'text', (c) => c.primaryKey()).execute());
  await before.contents.startRecording(await contentTables(before));
  await before.stop(1_000);
  const record = { from: before.contents.place, to: 'postgres', topology: '/postgres.yaml', indexes: [] };
  await noteStorageMove(context.dataDir, 'portal', { ...record, state: 'switched' });
  assert.throws(kept, /a secret is missing/);

  await noteStorageMove(context.dataDir, 'portal', { ...record, state: 'following' });
  const after = kept();
  await after.start();
  t.after(() => after.stop(1_000));
  const snapshot = await after.snapshot();
  assert.deepEqual([snapshot.tables.map(({ name }) => name), readStorageMove(context.dataDir, 'portal')], [['rows'], { ...record, state: 'begun' }]);
  await snapshot.close();
});
