import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext as Test } from 'node:test';
import { busDrivers } from '../../../../adapters/bus/catalog.ts';
import { Connection } from '../../../../adapters/bus/activemq/connection.ts';
import { ActiveMqSettings } from '../../../../adapters/bus/activemq/driver.ts';
import { busSharing } from '../../../../src/app/host/bus-sharing.ts';
import { systemClock } from '../../../../src/kernel/clock.ts';
import { newId } from '../../../../src/kernel/ids.ts';
import type { TlsMaterial } from '../../../../src/ports/transport.ts';
import { ActiveMqServer } from '../../../support/activemq.ts';
import { Arrivals, messageTo, queueOf, sqliteAt } from '../../../support/buses.ts';
import { newAuthority } from '../../../support/certificates.ts';
import { testContext } from '../../../support/context.ts';
import { rejectsWith } from '../../../support/faults.ts';

const PASSWORD = 'changeit';

/** The shipped broker, but over TLS, for hosts whose certificate is of the same authority. */
function overTls(folder: string, { cert, key, ca }: TlsMaterial): (xml: string) => string {
  const path = (file: string): string => join(folder, file);
  for (const [file, pem] of Object.entries({ 'cert.pem': cert, 'key.pem': key, 'ca.pem': ca })) writeFileSync(path(file), pem as string);
  execFileSync('openssl', ['pkcs12', '-export', '-in', path('cert.pem'), '-inkey', path('key.pem'), '-out', path('keys.p12'), '-passout', `pass:${PASSWORD}`], { stdio: 'ignore' });
  execFileSync('keytool', ['-importcert', '-noprompt', '-alias', 'ca', '-file', path('ca.pem'), '-keystore', path('trust.p12'), '-storepass', PASSWORD], { stdio: 'ignore' });
  const context = `<sslContext><sslContext keyStore="file:${path('keys.p12')}" keyStorePassword="${PASSWORD}" trustStore="file:${path('trust.p12')}" trustStorePassword="${PASSWORD}"/></sslContext>`;
  return (xml) => xml.replace('<systemUsage>', `${context}<systemUsage>`).replace('uri="stomp://', 'uri="stomp+ssl://').replace('?transport.', '?transport.needClientAuth=true&amp;transport.');
}

describe('an ActiveMQ broker over TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'multilith-tls-'));
  let broker: ActiveMqServer;
  let host: TlsMaterial;
  let stranger: TlsMaterial;
  // What it makes goes when the suite does.
  const authorities = { after: (done: () => void) => after(done) } as unknown as Test;
  before(async () => {
    const sign = newAuthority(authorities);
    host = sign('host');
    stranger = newAuthority(authorities)('stranger');
    const tls = sign('broker', '127.0.0.1');
    broker = await ActiveMqServer.start({ tls, edit: overTls(folder, tls) });
  });
  after(async () => {
    await broker.remove();
    rmSync(folder, { recursive: true });
  });

  const settings = (over: object = {}): ActiveMqSettings => ActiveMqSettings.parse({ port: broker.port, prefix: `tls-${newId()}`, tls: true, ...(host as object), ...over });
  const refused = (over: object) => rejectsWith('unavailable', Connection.open(settings(over), systemClock), 'broker_refused');

  test('carries messages, and is reached by its address or by a name that its certificate has', async (t) => {
    for (const servername of [undefined, 'broker']) {
      const place = testContext();
      const bus = busDrivers.activemq.create(settings({ servername }), { ...place, openStorage: sqliteAt(place), sharing: busSharing(place) });
      t.after(async () => {
        await bus.stop(1_000);
        place.remove();
      });
      await bus.start();
      await bus.declare(queueOf('q'));
      const arrivals = new Arrivals();
      await bus.consume('q', { concurrency: 1 }, arrivals.handler);
      await bus.publish([messageTo('q', { id: 'sealed' })]);
      await arrivals.count(1);
      assert.equal((await bus.check!()).ok, true);
    }
  });

  test('of another authority or name is refused, and it is said which', async () => {
    assert.match((await refused({ ca: stranger.ca })).message, /certificate is not believed: it is not signed by the authority in bus\.ca/);
    assert.match((await refused({ ca: undefined })).message, /not signed by the authority in bus\.ca/);
    assert.match((await refused({ servername: 'elsewhere' })).message, /for another name; set bus\.servername/);
  });

  test('that does not believe the host, or what cannot be read, is told apart, without a secret', async () => {
    const wrong = await refused({ cert: stranger.cert, key: stranger.key });
    assert.match(wrong.message, /bus\.cert and bus\.key/);
    assert.match((await refused({ key: 'no PEM at all' })).message, /bus\.key cannot be read/);
    assert.ok(!JSON.stringify(wrong).includes('PRIVATE KEY'));
  });

  test('where one of the two does not speak it is said so', async (t) => {
    const plain = createServer().listen(0, '127.0.0.1');
    t.after(() => plain.close());
    await once(plain, 'listening');
    const silent = { connectTimeoutMs: 500 };
    const toPlain = await rejectsWith('unavailable', Connection.open(settings({ ...silent, port: (plain.address() as AddressInfo).port }), systemClock), 'broker_away');
    assert.match(toPlain.message, /bus\.tls/);
    await rejectsWith('unavailable', Connection.open(settings({ ...silent, tls: false }), systemClock), 'broker_away');
  });
});
