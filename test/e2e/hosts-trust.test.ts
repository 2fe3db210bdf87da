import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { blocksOf } from '../support/markdown.ts';
import { newAuthority } from '../support/certificates.ts';
import { MailTraffic } from '../support/mail-traffic.ts';
import { MailServer } from '../support/smtp-server.ts';
import { type Layout, TestSystem } from '../support/topologies.ts';
import type { TlsMaterial } from '../../src/ports/transport.ts';

const run = promisify(execFile);
const SECRET = 'sixteen characters or more';
const layout: Layout = { hosts: { app: ['portal', 'trigger'], mailer: ['notification'] } };
const withSecret = (secret: string) => ({ MULTILITH_PEER_SECRET: secret });

const tls = { peers: { waitMs: 2_000, tls: { cert: { fromEnv: 'PEER_CERT' }, key: { fromEnv: 'PEER_KEY' }, ca: { fromEnv: 'PEER_CA' } } } };
const withCertificate = ({ cert, key, ca }: TlsMaterial) => ({ PEER_CERT: String(cert), PEER_KEY: String(key), PEER_CA: String(ca) });

async function problemsOf(system: TestSystem, host: string): Promise<string[]> {
  const url = host === 'app' ? system.url : `http://127.0.0.1:${system.port(host)}`;
  return ((await (await fetch(`${url}/readyz`)).json()) as { problems: string[] }).problems;
}

/** Whether in peace or not. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.resume().once('close', () => resolve()));
}

describe('hosts that do not trust each other', () => {
  for (const [what, others] of [['another secret', withSecret('another one of sixteen')], ['no secret', {}]] as const) {
    it(`with ${what}: both say so in log and /readyz, and nothing is served`, async (t) => {
      const system = await TestSystem.prepare({ ...layout, settings: { peers: { waitMs: 2_000 } } });
      t.after(() => system.dispose());
      const app = system.launchHost('app', { env: withSecret(SECRET) });
      const mailer = system.launchHost('mailer', { env: others });
      await app.untilReady();
      for (const [host, calls] of [['app', ['notification']], ['mailer', ['portal', 'bus']]] as const) {
        const problems = await problemsOf(system, host);
        assert.deepEqual(problems.map((problem) => problem.split(':')[0]), calls);
        for (const problem of problems) assert.match(problem, /secret.*give both the same/);
      }
      for (const host of [app, mailer]) {
        await host.says(/"level":"warn".*secret.*give both the same/);
        assert.ok(!host.output.includes(SECRET));
      }
      assert.equal((await fetch(`http://127.0.0.1:${system.port('app')}/contract`)).status, 401);
      assert.equal(await mailer.stop(), 0);
    });
  }

  it('with certificates of another authority: both say so, and nothing is served', async (t) => {
    const system = await TestSystem.prepare({ ...layout, settings: tls });
    t.after(() => system.dispose());
    const [ours, theirs] = [newAuthority(t), newAuthority(t)];
    const app = system.launchHost('app', { env: withCertificate(ours('app', '127.0.0.1')) });
    const mailer = system.launchHost('mailer', { env: withCertificate(theirs('mailer', '127.0.0.1')) });
    await app.untilReady();
    assert.match((await problemsOf(system, 'app')).join(), /notification: Host mailer cannot be reached: .*certificate/);
    for (const host of [app, mailer]) await host.says(/"level":"warn".*certificate/);
    assert.equal(await mailer.stop(), 0);
  });
});

for (const via of ['rpc', 'http']) {
  it(`hosts talk over ${via} with certificates of one authority, and to nobody without one`, async (t) => {
    const server = await MailServer.start();
    const certificate = newAuthority(t);
    const system = await TestSystem.prepare({ ...layout, calls: { notification: { via }, portal: { via } }, settings: tls }, { env: { MULTILITH_SMTP_URL: server.url, ...withSecret(SECRET) } });
    t.after(async () => {
      await system.dispose();
      await server.stop();
    });
    const app = system.launchHost('app', { env: withCertificate(certificate('app', '127.0.0.1')) });
    system.launchHost('mailer', { env: withCertificate(certificate('mailer', '127.0.0.1')) });
    await app.untilReady();
    const traffic = await MailTraffic.over({ url: system.url, output: app.output }, server);
    await traffic.mail();
    await assert.rejects(fetch(`http://127.0.0.1:${system.port('mailer')}/livez`));
    await assert.rejects(run('curl', ['-sSfk', `https://127.0.0.1:${system.port('mailer')}/contract`, '-H', `authorization: Bearer ${SECRET}`]));
  });
}

describe('the port at which a host takes calls', () => {
  let system: TestSystem;
  let url: string;
  before(async () => {
    system = await TestSystem.start(layout, { env: withSecret(SECRET) });
    url = `http://127.0.0.1:${system.port('mailer')}`;
  });
  after(() => system?.dispose());

  it('answers probes without the secret', async () => {
    assert.equal((await fetch(`${url}/livez`)).status, 200);
    assert.deepEqual(await (await fetch(`${url}/readyz`)).json().then(({ ready, problems }: any) => [ready, problems]), [true, []]);
    assert.match(await (await fetch(`${url}/metrics`)).text(), /^nodejs_eventloop_lag_p99_seconds /m);
  });

  it('tells and does what curl asks for with the secret, and nothing without', async () => {
    const curl = async (path: string, ...args: string[]) => JSON.parse((await run('curl', ['-sS', `${url}${path}`, ...args])).stdout);
    const bearer = ['-H', `authorization: Bearer ${SECRET}`];
    const body = ['-H', 'content-type: application/json', '-H', 'multilith-workspace: w1', '-d', '{"limit":10}'];
    assert.deepEqual((await curl('/contract', ...bearer)).offers.map(({ name }: { name: string }) => name), ['notification', 'host', 'backup']);
    assert.deepEqual(await curl('/contract/notification/listSuppressions', ...bearer, ...body), { items: [], next: null });
    assert.equal((await curl('/contract/notification/listSuppressions', ...body)).code, 'unauthenticated');
    assert.equal((await curl('/contract', '-H', 'authorization: Bearer wrong')).code, 'unauthenticated');
  });

  it("answers the page's commands as they stand", async () => {
    const [script] = blocksOf(readFileSync(join(import.meta.dirname, '../../../docs/contracts-over-http.md'), 'utf8'), 'sh');
    const here = script!.replaceAll('http://127.0.0.1:7072', url);
    assert.notEqual(here, script);
    const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', here], { env: { PATH: process.env.PATH, SECRET, WORKSPACE: 'w1' } });
    assert.match(stdout, /"countDeliveries":\{"kind":"query"/);
    assert.match(stdout, /\{"audience":0,"sent":0,[^}]*\}/);
  });

  it('is not troubled by strangers: garbage, endless frames, slow bytes', { timeout: 30_000 }, async () => {
    const port = system.port('mailer');
    const beginnings = [Buffer.from('garbage\r\n\r\n'), Buffer.alloc(1024 * 1024, 0xff), Buffer.from('MLRP'), Buffer.from('POST /contract HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n'), Buffer.from([0x16, 3, 1, 2, 0, 1])];
    const strangers = beginnings.map(async (beginning) => {
      const socket = connect(port, '127.0.0.1').on('error', () => {});
      socket.write(beginning);
      await closed(socket);
    });
    const slow = connect(port, '127.0.0.1').on('error', () => {});
    const dripping = setInterval(() => slow.write('G'), 400);
    await Promise.all([...strangers, closed(slow)]);
    clearInterval(dripping);
    assert.deepEqual(await problemsOf(system, 'app'), []);
    assert.equal((await fetch(`${url}/readyz`)).status, 200);
  });
});
