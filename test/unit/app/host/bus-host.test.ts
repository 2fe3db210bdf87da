import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { injectable } from 'inversify';
import { z } from 'zod';
import { requireConfig } from '../../../../src/app/config/config.ts';
import { Host } from '../../../../src/app/host/host.ts';
import type { HostLog } from '../../../../src/app/host/log.ts';
import { contract } from '../../../../src/kernel/contract.ts';
import { job } from '../../../../src/kernel/message.ts';
import { defineModule } from '../../../../src/kernel/module.ts';
import { freePort } from '../../../support/server-process.ts';
import { troubledParts } from '../../../support/troubled.ts';

const warm = Promise.withResolvers<void>();

@injectable()
class Nothing {}
@injectable()
class Warmth {
  start = () => warm.promise;
  stop = async () => {};
}
@injectable()
class Handler {
  async handle(): Promise<void> {}
}

const plain = { implementation: Nothing, calls: [], migrations: [], subscriptions: [], publishes: [], settings: z.strictObject({}), parts: [], lifecycles: [] };
const keeper = defineModule({ ...plain, name: 'keeper', contract: contract<object>('keeper', {}), lifecycles: [Warmth] });
const consumer = defineModule({ ...plain, name: 'consumer', contract: contract<object>('consumer', {}), subscriptions: [{ message: job('consumer.work', z.object({})), concurrency: 1, transactional: Handler }] });

test('whoever consumes from a host that is starting waits until that one has started, and has nothing to complain of', { timeout: 60_000 }, async (t) => {
  const parts = { ...troubledParts, modules: [keeper, consumer] };
  const said: string[] = [];
  const line = (level: string) => (fields: object, message: string) => void said.push(`${level} ${message} ${JSON.stringify(fields)}`);
  const log: HostLog = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error'), child: () => log, flush() {} };
  const data = mkdtempSync(join(tmpdir(), 'multilith-bus-host-'));
  const sets = [`hosts.app={ modules: [keeper], listen: "127.0.0.1:${await freePort()}" }`, `hosts.other={ modules: [consumer], listen: "127.0.0.1:${await freePort()}" }`, 'bus.host=app', `data=${data}`];
  const hosts = ['app', 'other'].map((name) => new Host(requireConfig({ topology: 'default', env: {}, cwd: data, sets }, parts).config, name, parts, log));
  t.after(async () => {
    warm.resolve();
    await Promise.allSettled(hosts.map((host) => host.stop(5_000)));
    rmSync(data, { recursive: true, force: true });
  });

  const ready: string[] = [];
  const starts = hosts.map((host) => host.start().then(() => ready.push(host.name)));
  while (said.filter((one) => one.includes('connected')).length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual(ready, []);
  warm.resolve();
  await Promise.all(starts);
  assert.deepEqual(said.filter((one) => /^(warn|error)/.test(one)), []);
});
