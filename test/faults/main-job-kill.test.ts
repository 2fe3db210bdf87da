import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { auditMails } from '../support/mail-audit.ts';
import { Multilith } from '../support/multilith.ts';
import { seeded } from '../support/seed.ts';
import { MailServer } from '../support/smtp-server.ts';
import { TestWorkspace } from '../support/workspace.ts';

const KILLS = isLong ? 40 : 3;
const PEOPLE = 50;
const BATCH = 10;
const SENDERS = 3;

it('a process killed again and again under load loses nothing and repeats nothing unmarked', { timeout: 300_000 }, async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const server = await MailServer.start();
  const dataDir = mkdtempSync(join(tmpdir(), 'multilith-'));
  const start = () => Multilith.start({ dataDir, env: { MULTILITH_SMTP_URL: server.url } });
  let multilith = await start();
  t.after(async () => {
    await multilith.dispose();
    await server.stop();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const first = await TestWorkspace.create(multilith);
  await first.send(Array.from({ length: PEOPLE }, (_, i) => ({ type: 'identify', messageId: `person-${i}`, userId: `u${i}`, traits: { email: `u${i}@customer.example`, firstName: `P${i}` } })));
  await first.until('/api/v1/people?limit=200', (page) => page.items.length === PEOPLE);
  const automationId = await first.automation('Claim Opened', await first.template({ subject: 'Claim {{ event.number }}', body: '<p>Hello {{ person.firstName }}</p>' }));

  let next = 0;
  const accepted = new Set<number>();
  const doubtful: number[][] = [];
  const post = async (numbers: number[]): Promise<boolean> => {
    const workspace = new TestWorkspace(multilith.url, first.key);
    const events = numbers.map((n) => ({ type: 'track', messageId: `claim-${n}`, userId: `u${n % PEOPLE}`, event: 'Claim Opened', properties: { number: n } }));
    const ok = await workspace.send(events).then((response) => response.ok, () => false);
    if (ok) numbers.forEach((n) => accepted.add(n));
    else doubtful.push(numbers);
    return ok;
  };
  for (let round = 0; round < KILLS; round++) {
    let dying = false;
    const senders = Array.from({ length: SENDERS }, async () => {
      while (!dying) {
        // As every client does, what was not acknowledged is sent again, under the same messageIds.
        const numbers = doubtful.pop() ?? Array.from({ length: BATCH }, () => next++);
        if (!(await post(numbers))) break;
      }
    });
    await new Promise((resolve) => setTimeout(resolve, 100 + random.whole(1_200)));
    await multilith.kill();
    dying = true;
    await Promise.all(senders);
    multilith = await start();
  }
  while (doubtful.length > 0) assert.ok(await post(doubtful.pop()!));
  assert.equal(accepted.size, next);

  const workspace = new TestWorkspace(multilith.url, first.key);
  const repeated = await auditMails(workspace, automationId, server, next, 120_000);
  t.diagnostic(`${next} events, ${KILLS} kills, ${server.mails.length} mails, ${repeated} of them twice`);
});
