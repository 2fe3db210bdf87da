import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, callOf, echo, faultOf, onEachTransport } from '../../support/transports.ts';

const TOO_LARGE = 'x'.repeat(17 * 1024 * 1024);

onEachTransport('values that cannot cross', (under) => {
  test('a request that is no JSON, too deep or too large is refused, and the next call is served', async (t) => {
    const host = await under.host(t, echo);
    const link = await under.openLink(t, host.address);
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    let deep: unknown = 0;
    for (let level = 0; level < 100_000; level++) deep = [deep];
    const broken = { a: { b: 1 }, get c(): never { throw new Error('broken'); } };
    for (const request of [1n, cycle, deep, broken, TOO_LARGE, [{ a: 'b', text: TOO_LARGE }]]) {
      const { code, origin } = await faultOf(ask(link, callOf(request)));
      assert.deepEqual([code, origin], ['invalid', 'unsent']);
      assert.equal(await ask(link, callOf('next')), 'next');
    }
    assert.equal(link.pending, 0);
  });

  test('an answer that is no JSON or too large becomes a fault, and the next call is served', async (t) => {
    const answers: Record<string, unknown> = { bigint: 1n, large: TOO_LARGE, nested: { known: [{ shape: 1, large: TOO_LARGE }] } };
    const host = await under.host(t, async ({ request }) => ({ value: answers[request as string] ?? { known: [{ shape: 1, large: 'x' }] } }));
    const link = await under.openLink(t, host.address);
    for (const name of Object.keys(answers)) {
      const { code, origin } = await faultOf(ask(link, callOf(name)));
      assert.deepEqual([code, origin], ['internal', 'reply']);
      assert.deepEqual(await ask(link, callOf('next')), { known: [{ shape: 1, large: 'x' }] });
    }
  });
});
