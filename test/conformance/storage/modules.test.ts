import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { TEST_POSTGRES } from '../../support/module-storage.ts';
import { PostgresServer } from '../../support/postgres.ts';

/** Tests of modules that write most of what there is to write. What they ask of SQLite's own plans is not among them. */
const OF_MODULES = {
  portal: ['people/people', 'segments/memberships', 'templates/templates', 'ingest/batch-handler', 'http/idempotency'],
  trigger: ['automations', 'entering', 'agenda', 'module', 'exactly-once'],
  notification: ['delivery', 'unsubscribing', 'trying-a-template', 'delivery-tries'],
};

describe('modules keep to their tests on postgres', () => {
  const server = new PostgresServer();
  before(() => server.start());
  after(() => server.remove());

  for (const [module, names] of Object.entries(OF_MODULES)) {
    test(module, { timeout: 400_000 }, async () => {
      const files = names.map((name) => join(import.meta.dirname, `../../unit/${module}/${name}.test.js`));
      const { NODE_TEST_CONTEXT: _, ...env } = process.env;
      const child = spawn(process.execPath, ['--test', '--test-reporter=tap', ...files], { env: { ...env, [TEST_POSTGRES]: String(server.port) }, stdio: ['ignore', 'pipe', 'inherit'] });
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
      const [code] = (await once(child, 'close')) as [number];
      assert.equal(code, 0, output.split('\n').filter((line) => /^ *not ok|error:|^# (pass|fail)/.test(line)).join('\n'));
      assert.match(output, /^# fail 0$/m);
    });
  }
});
