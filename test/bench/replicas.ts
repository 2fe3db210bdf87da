import { deploy, shared } from '../support/deployments.ts';
import { auditMails } from '../support/mail-audit.ts';
import { MailServer } from '../support/smtp-server.ts';
import { TestWorkspace } from '../support/workspace.ts';
import { postEvents, prepare } from './main-job-load.ts';
import type { BenchRow } from './report.ts';

/** A hundred thousand take longer than a bench should. */
const SENDS = Number(process.env.BENCH_SENDS ?? 20_000);
const REST_MS = 600_000;

/** Three processes of notification beside one of the rest, over PostgreSQL and ActiveMQ: what leaves, and how much of it twice. */
export async function benchReplicas(): Promise<BenchRow[]> {
  const server = await MailServer.start({ keepsMails: false });
  const layout = { hosts: { app: ['portal', 'trigger'], mailer: ['notification'] }, replicas: { mailer: 3 } };
  const system = await deploy({ name: 'three mailers', layout, use: shared }, { env: { MULTILITH_SMTP_URL: server.url } });
  try {
    const workspace = await TestWorkspace.create(system);
    const automationId = await prepare(workspace);
    const began = performance.now();
    const events = await postEvents(workspace, { goesOn: (accepted) => accepted < SENDS, sent: () => server.taken });
    await workspace.until(`/api/v1/automations/${automationId}/deliveries/counts`, ({ sent }) => sent === events, REST_MS);
    const seconds = (performance.now() - began) / 1_000;
    const twice = await auditMails(workspace, automationId, server, events, REST_MS);
    return [
      { name: 'replicas.mails', value: events / seconds, unit: '/s', note: 'three processes of notification, PostgreSQL, ActiveMQ' },
      { name: 'replicas.mails-twice', value: twice, unit: `of ${events.toLocaleString('en-US')}`, aim: 0, better: 'lower' },
    ];
  } finally {
    await system.dispose();
    await server.stop();
  }
}
