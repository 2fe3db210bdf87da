import assert from 'node:assert/strict';
import { it, type TestContext as Test } from 'node:test';
import { MailTraffic } from '../support/mail-traffic.ts';
import { otherBuild } from '../support/other-build.ts';
import { MailServer } from '../support/smtp-server.ts';
import { TestSystem } from '../support/topologies.ts';

const CONTRACT = 'modules/notification/contract.js';

async function prepare(t: Test): Promise<{ system: TestSystem; server: MailServer }> {
  const server = await MailServer.start();
  const system = await TestSystem.prepare({ hosts: { app: ['portal', 'trigger'], mailer: ['notification'] }, settings: { peers: { waitMs: 2_000 } } }, { env: { MULTILITH_SMTP_URL: server.url } });
  t.after(async () => {
    await system.dispose();
    await server.stop();
  });
  return { system, server };
}

it('hosts are taken to a build that adds to a contract, one after the other, under load: calls wait for as long as they may, and nothing is lost', { timeout: 120_000 }, async (t) => {
  const { system, server } = await prepare(t);
  const main = otherBuild(t, CONTRACT, 'const Track = z.object({', 'const Track = z.object({ note: z.string().optional(),');
  await Promise.all(system.hosts.map((host) => system.startHost(host)));
  const traffic = await MailTraffic.over(system, server);
  await traffic.mail();
  const stop = traffic.load(2);
  const failures: string[] = [];
  let answered = 0;
  let isOn = true;
  t.after(() => {
    isOn = false;
    return stop();
  });
  const asking = (async () => {
    for (; isOn; await new Promise((resolve) => setTimeout(resolve, 20))) {
      await traffic.workspace.ask('GET', '/api/v1/suppressions').then(() => answered++, (thrown: Error) => failures.push(thrown.message));
    }
  })();

  assert.equal(await system.host('mailer').stop(), 0);
  await system.startHost('mailer', { main });
  await system.healed();
  isOn = false;
  await asking;
  // Only those fail that have less time than the restart takes.
  for (const failure of failures) assert.match(failure, /answered with 50[34]/);
  assert.ok(answered > 0, `${answered} answers`);
  await traffic.mail();

  assert.equal(await system.host('app').stop(), 0);
  await system.startHost('app', { main });
  await system.healed();
  await stop();
  const { events } = await traffic.addsUp();
  t.diagnostic(`${answered} calls, ${events} events`);
});

it('a build that breaks a contract is refused, with its host and the field, and the rest goes on', { timeout: 120_000 }, async (t) => {
  const { system, server } = await prepare(t);
  const main = otherBuild(t, CONTRACT, 'const Track = z.object({', 'const Track = z.object({ reason: z.string(),');
  const [app] = await Promise.all([system.startHost('app'), system.startHost('mailer', { main })]);
  const traffic = await MailTraffic.over(system, server).catch((thrown: Error) => thrown);
  const said = ((await (await fetch(`${system.url}/readyz`)).json()) as { ready: boolean; problems: string[] });
  assert.equal(said.ready, true);
  assert.match(said.problems.join(), /notification on host mailer does not fit: .*reason/);
  await app!.says(/"level":"error".*does not fit: .*reason/);
  assert.match(String(traffic), /notification on host mailer does not fit/, 'publishing a template asks the mailer to compile it');
  assert.equal((await fetch(`${system.url}/login`)).status, 200);

  // The right build takes up what has waited.
  await system.host('mailer').stop();
  await system.startHost('mailer');
  await system.healed();
});
