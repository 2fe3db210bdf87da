import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireConfig } from '../../../../src/app/config/config.ts';
import { parts } from '../../../../src/app/parts.ts';
import { Caches } from '../../../../src/app/host/caches.ts';
import { Call } from '../../../../src/kernel/call.ts';
import type { Log } from '../../../../src/kernel/telemetry.ts';
import type { Bus } from '../../../../src/ports/bus.ts';
import { Listeners } from '../../../../src/ports/listeners.ts';
import { testContext } from '../../../support/context.ts';
import { itemChanged, pantry, PantryCallee } from '../../../support/pantry.ts';

test('what was answered before events are heard is forgotten, and so is all that an event might name whose payload is no JSON, which no log quotes', async (t) => {
  const said: string[] = [];
  const line = (fields: object, message: string) => void said.push(`${message} ${JSON.stringify(fields, (_, value) => (value instanceof Error ? `${value.message} ${value.stack}` : value))}`);
  const log: Log = { debug: line, info: line, warn: line, error: line, child: () => log };
  const context = testContext({ log });
  t.after(() => context.remove());
  const { config } = requireConfig({ topology: 'default', env: {}, cwd: context.dataDir, sets: [] }, parts);
  const caches = new Caches({ config: { ...config, calls: { pantry: { via: 'rpc', cache: { entries: 10 } } } }, parts, context });
  t.after(() => caches.stop(1_000));
  const callee = new PantryCallee();
  callee.auto = ({ id }, { workspace }) => ({ id, version: callee.asked.length, workspace, tags: [] });
  const stub = caches.inFrontOf(pantry, callee.stub);
  const versionOf = async (id: string) => (await stub.get({ id }, new Call({ workspace: 'w1', actor: { kind: 'user', id: 'u1' }, deadline: Date.now() + 10_000 }))).version;

  assert.equal(await versionOf('a'), 1);
  const listeners = new Listeners(log);
  caches.watch({ watch: (topics, listener) => listeners.add(topics, listener) } as Pick<Bus, 'watch'> as Bus);
  assert.deepEqual([await versionOf('a'), await versionOf('a')], [2, 2]);
  listeners.message(itemChanged.name, 'w1', 'Ana Silva, ana@example.com');
  assert.equal(await versionOf('a'), 3);
  assert.doesNotMatch(said.join(), /Ana|SyntaxError/);
});
