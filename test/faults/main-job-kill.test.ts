import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { Multilith } from '../support/multilith.ts';
import { seeded } from '../support/seed.ts';
import { type ReceivedMail, MailServer } from '../support/smtp-server.ts';
import { TestWorkspace } from '../support/workspace.ts';

const KILLS = process.env.MULTILITH_FAULTS === 'long' ? 40 : 6;
const PEOPLE = 50;
const BATCH = 10;
const SENDERS = 3;

interface Delivery {
  readonly state: string;
  readonly messageId: string;
  readonly mayBeRepeated: boolean;
  readonly source: { readonly eventId: string };
}

/**
 * The ledger: what was accepted = what was sent, once each; a mail comes twice only where the process died between
 * handing it over and hearing the answer, and then the delivery says so.
 */
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
  const counts = await workspace.until(`/api/v1/automations/${automationId}/deliveries/counts`, (c) => c.audience >= next && c.pending === 0, 120_000);
  assert.equal(counts.audience, next, 'every accepted event has its effect once');
  assert.equal(counts.sent + counts.uncertain, next);
  const deliveries = await allDeliveries(workspace, automationId);
  assert.equal(new Set(deliveries.map((d) => d.source.eventId)).size, next);

  const mails = Map.groupBy(server.mails, messageIdOf);
  for (const { messageId, state, mayBeRepeated } of deliveries) {
    const times = mails.get(messageId.replace(/^<|>$/g, ''))?.length ?? 0;
    const marked = mayBeRepeated || state === 'uncertain';
    assert.ok(times >= 1 || state === 'uncertain', `the mail ${messageId} counts as ${state} and never came`);
    assert.ok(times <= 1 || (times === 2 && marked), `a mail came ${times} times and is ${marked ? 'marked' : 'not marked'}`);
  }
  const repeated = [...mails.values()].filter((copies) => copies.length > 1).length;
  t.diagnostic(`${next} events, ${KILLS} kills, ${server.mails.length} mails, ${repeated} of them twice`);
});

function messageIdOf({ raw }: ReceivedMail): string {
  return /^Message-ID:\s*<?([^\s>]+)/im.exec(raw)![1]!;
}

async function allDeliveries(workspace: TestWorkspace, automationId: string): Promise<Delivery[]> {
  const all: Delivery[] = [];
  for (let after = ''; ; ) {
    const page = await workspace.ask('GET', `/api/v1/deliveries?sourceId=${automationId}&limit=200${after && `&after=${encodeURIComponent(after)}`}`);
    all.push(...page.items);
    if (page.next === null) return all;
    after = page.next;
  }
}
