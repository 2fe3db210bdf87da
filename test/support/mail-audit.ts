import assert from 'node:assert/strict';
import type { MailServer } from './smtp-server.ts';
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
  const counts = await workspace
    .until(`/api/v1/automations/${automationId}/deliveries/counts`, (c) => c.audience >= events && c.pending === 0, deadlineMs)
    .catch((error: Error) => assert.fail(`of ${events} events: ${error.message}`));
  assert.equal(counts.audience, events, 'every accepted event has its effect once');
  assert.equal(counts.sent + counts.uncertain, events, JSON.stringify(counts));
  const seen = new Set<string>();
  let repeated = 0;
  for await (const { source, messageId, state, mayBeRepeated } of deliveriesOf(workspace, automationId)) {
    seen.add(source.eventId);
    const times = server.copies.get(messageId.replace(/^<|>$/g, '')) ?? 0;
    const isMarked = mayBeRepeated || state === 'uncertain';
    assert.ok(times >= 1 || state === 'uncertain', `the mail ${messageId} counts as ${state} and never came`);
    assert.ok(times <= 1 || (times === 2 && isMarked), `a mail came ${times} times and is ${isMarked ? 'marked' : 'not marked'}`);
    if (times > 1) repeated++;
  }
  assert.equal(seen.size, events);
  return repeated;
}

async function* deliveriesOf(workspace: TestWorkspace, automationId: string): AsyncGenerator<Delivery> {
  for (let after = ''; ; ) {
    const page = await workspace.ask('GET', `/api/v1/deliveries?sourceId=${automationId}&limit=200${after && `&after=${encodeURIComponent(after)}`}`);
    yield* page.items;
    if (page.next === null) return;
    after = page.next;
  }
}
