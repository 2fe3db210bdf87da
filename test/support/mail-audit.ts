import assert from 'node:assert/strict';
import type { MailServer, ReceivedMail } from './smtp-server.ts';
import type { TestWorkspace } from './workspace.ts';

interface Delivery {
  readonly state: string;
  readonly messageId: string;
  readonly mayBeRepeated: boolean;
  readonly source: { readonly eventId: string };
}

/**
 * The ledger of an automation that sends one mail for each event: what was accepted = what was sent, once each; a mail
 * comes twice only where its process died between handing it over and hearing the answer, and then its delivery says so.
 * Answers how many mails came twice.
 */
export async function auditMails(workspace: TestWorkspace, automationId: string, server: MailServer, events: number, deadlineMs: number): Promise<number> {
  const counts = await workspace.until(`/api/v1/automations/${automationId}/deliveries/counts`, (c) => c.audience >= events && c.pending === 0, deadlineMs);
  assert.equal(counts.audience, events, 'every accepted event has its effect once');
  assert.equal(counts.sent + counts.uncertain, events, JSON.stringify(counts));
  const deliveries = await allDeliveries(workspace, automationId);
  assert.equal(new Set(deliveries.map((d) => d.source.eventId)).size, events);

  const mails = Map.groupBy(server.mails, messageIdOf);
  for (const { messageId, state, mayBeRepeated } of deliveries) {
    const times = mails.get(messageId.replace(/^<|>$/g, ''))?.length ?? 0;
    const marked = mayBeRepeated || state === 'uncertain';
    assert.ok(times >= 1 || state === 'uncertain', `the mail ${messageId} counts as ${state} and never came`);
    assert.ok(times <= 1 || (times === 2 && marked), `a mail came ${times} times and is ${marked ? 'marked' : 'not marked'}`);
  }
  return [...mails.values()].filter((copies) => copies.length > 1).length;
}

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
