import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MOST_VALUE_BYTES } from '../../../src/ports/transport.ts';
import { ask, callOf, echo, faultOf, onEachTransport } from '../../support/transports.ts';

const TOO_LARGE = 'x'.repeat(MOST_VALUE_BYTES + 256 * 1024);
const LARGEST = 'x'.repeat(MOST_VALUE_BYTES - 1_024);

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

  test('what is just within the limit crosses both ways, and the refusal of what is not names the limit', async (t) => {
    const host = await under.host(t, echo);
    const link = await under.openLink(t, host.address);
    assert.equal(await ask(link, callOf(LARGEST)), LARGEST);
    const { reason, message, details } = await faultOf(ask(link, callOf(TOO_LARGE)));
    assert.deepEqual([reason, details], ['request_too_large', { maxBytes: MOST_VALUE_BYTES }]);
    assert.match(message, new RegExp(`${MOST_VALUE_BYTES} bytes`));
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
