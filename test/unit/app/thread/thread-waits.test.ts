import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freePort } from '../../../support/server-process.ts';
import { PASS_MS } from '../../../support/troubled.ts';
import { TroubledHost } from '../../../support/troubled-host.ts';

test('a module on a thread waits for a host that is being restarted, beyond what the operation may take, and goes on', { timeout: 120_000 }, async () => {
  const sets = ['hosts.app.modules=[front, troubled]', `hosts.app.listen=127.0.0.1:${await freePort()}`, `hosts.other={ modules: [gate], listen: "127.0.0.1:${await freePort()}" }`, 'bus.host=app', 'modules.troubled.passesGate=true'];
  const it = new TroubledHost(...sets);
  const other = it.beside('other', ...sets);
  await Promise.all([it.host.start(), other.start()]);
  await other.stop(5_000);

  await it.get('publish?1');
  await it.until(() => it.line('handling') !== undefined);
  await new Promise((resolve) => setTimeout(resolve, 2 * PASS_MS));
  assert.equal(it.line('handled'), undefined);
  await it.beside('other', ...sets).start();
  await it.until(() => it.line('handled') !== undefined);
  assert.equal(it.line('message not handled'), undefined);
});
