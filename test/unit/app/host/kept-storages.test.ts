import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireConfig } from '../../../../src/app/config/config.ts';
import { KeptStorages } from '../../../../src/app/host/kept-storages.ts';
import { parts } from '../../../../src/app/parts.ts';
import { testContext } from '../../../support/context.ts';

test('a process moves only the data of modules that it runs, and runs alone', (t) => {
  const context = testContext();
  t.after(() => context.remove());
  const { config } = requireConfig({ topology: 'default', env: {}, cwd: context.dataDir, sets: [] }, parts);
  const kept = (replicas: number) => new KeptStorages({ config: { ...config, hosts: { app: { ...config.hosts['app']!, replicas } } }, parts, context, readTopology: () => config });
  assert.throws(() => kept(1).move('/postgres.yaml', ['portal']), { code: 'invalid', reason: 'module_elsewhere' });
  const several = kept(2);
  several.open('portal');
  assert.throws(() => several.move('/postgres.yaml', ['portal']), { code: 'invalid', reason: 'several_processes' });
});
