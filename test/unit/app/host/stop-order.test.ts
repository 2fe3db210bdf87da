import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from '../../../support/server-process.ts';
import { errands } from '../../../support/troubled.ts';
import { TroubledHost } from '../../../support/troubled-host.ts';

/** Settings, and whether there is a second host, for each way of reaching the module that is called. */
const ways = {
  'on a thread': async () => [],
  'on another host': async () => ['calls.troubled.via=rpc', 'hosts.app.modules=[front, gate]', `hosts.app.listen=127.0.0.1:${await freePort()}`, `hosts.other={ modules: [troubled], listen: "127.0.0.1:${await freePort()}" }`, 'bus.host=app'],
};

for (const [where, settings] of Object.entries(ways)) {
  test(`a host that stops finishes a message whose handler calls a module ${where} that calls back`, { timeout: 60_000 }, async () => {
    const sets = await settings();
    const it = new TroubledHost(...sets);
    const other = sets.length === 0 ? undefined : it.beside('other', ...sets);
    await Promise.all([it.host.start(), other?.start()]);
    const { promise, resolve: letGo } = Promise.withResolvers<void>();
    Object.assign(errands, { begun: 0, done: 0, held: promise });
    await it.get('errand');
    await it.until(() => errands.begun === 1);

    const stopped = it.host.stop(10_000);
    // Nobody new is let in any more: the stop is on its way.
    await assert.rejects(it.get('page'));
    letGo();
    await stopped;
    assert.deepEqual([errands.begun, errands.done], [1, 1], JSON.stringify(it.lines.filter(({ level }) => level === 'warn')));
  });
}

test('a host that stops finishes a message on a thread whose handler calls a module that calls back', { timeout: 60_000 }, async () => {
  const there = join(TroubledHost.root, 'go on');
  const it = await TroubledHost.start(`modules.troubled.handlesOnce=${there}`);
  await it.get('publish?1');
  await it.until(() => it.line('handling') !== undefined);

  const stopped = it.host.stop(10_000);
  await assert.rejects(it.get('page'));
  writeFileSync(there, '');
  await stopped;
  assert.ok(it.line('handled'), JSON.stringify(it.lines.filter(({ level }) => level === 'warn')));
});
