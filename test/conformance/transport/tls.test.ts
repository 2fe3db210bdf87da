import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createServer } from 'node:tls';
import { newAuthority } from '../../support/certificates.ts';
import { ask, callOf, echo, identityOf, onEachTransport } from '../../support/transports.ts';

onEachTransport('tls', (under) => {
  test('with TLS both ends show certificates of one authority, and others stay out', async (t) => {
    const [ours, theirs] = [newAuthority(t), newAuthority(t)];
    const [mailer, app, stranger] = [ours('mailer'), ours('app'), theirs('app')];
    const server = under.transport.serve(identityOf(), { dispatch: echo });
    const listener = createServer({ ...mailer, requestCert: true, rejectUnauthorized: true }, (socket) => server.accept(socket)).on('tlsClientError', () => {});
    await once(listener.listen(0, '127.0.0.1'), 'listening');
    t.after(async () => {
      await server.stop(0);
      listener.close();
    });
    const at = { host: '127.0.0.1', port: (listener.address() as AddressInfo).port };
    const link = await under.openLink(t, { at, tls: { ...app, serverName: 'mailer' } });
    const large = 'x'.repeat(2_000_000);
    assert.deepEqual(await Promise.all([1, large, 2].map((n) => ask(link, callOf(n)))), [1, large, 2]);
    for (const tls of [{ ...app, serverName: 'portal' }, { ...stranger, serverName: 'mailer' }, { ...stranger, ca: app.ca, serverName: 'mailer' }]) {
      const outside = under.link(t, { at, tls });
      while (!/certificate|alert|altnames|ECONN|EPIPE|closed|reached/i.test(outside.problem ?? '')) await new Promise((resolve) => setTimeout(resolve, 5));
      assert.equal(outside.state, 'connecting');
      await outside.stop(0);
    }
  });
});
