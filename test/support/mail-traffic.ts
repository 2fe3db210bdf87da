import assert from 'node:assert/strict';
import { isLong } from './campaign.ts';
import { auditMails } from './mail-audit.ts';
import type { MailServer, ReceivedMail } from './smtp-server.ts';
import { TestWorkspace } from './workspace.ts';

const PEOPLE = 10;
/** Between one batch and the next. In short there are messages under way at each moment, and a processor is left for what is tested. */
const BREATH_MS = isLong ? 0 : 75;

/** Events of which each is to become one mail, and the ledger of them: what was accepted, and what has come. */
export class MailTraffic {
  readonly workspace: TestWorkspace;
  readonly templateId: string;
  readonly automationId: string;
  readonly #server: MailServer;
  readonly #accepted = new Set<number>();
  /** Sent, and nobody knows whether they were accepted: to be sent again, as every client does. */
  readonly #doubtful: number[][] = [];
  #next = 0;

  private constructor(workspace: TestWorkspace, server: MailServer, templateId: string, automationId: string) {
    this.workspace = workspace;
    this.#server = server;
    this.templateId = templateId;
    this.automationId = automationId;
  }

  /** How many events have been accepted so far. */
  get accepted(): number {
    return this.#accepted.size;
  }

  /** People, a template and an automation in the first workspace of the system. */
  static async over(system: { readonly url: string; readonly output: string }, server: MailServer): Promise<MailTraffic> {
    const workspace = await TestWorkspace.create(system);
    await workspace.send(Array.from({ length: PEOPLE }, (_, n) => ({ type: 'identify', messageId: `person-${n}`, userId: `u${n}`, traits: { email: `u${n}@customer.example` } })));
    await workspace.until('/api/v1/people?limit=200', (page) => page.items.length === PEOPLE);
    const templateId = await workspace.template({ subject: 'First claim {{ event.number }}', body: '<p>Hello</p>' });
    return new MailTraffic(workspace, server, templateId, await workspace.automation('Claim Opened', templateId));
  }

  /** One more event and its mail; answers the subject. */
  async mail(deadlineMs = 60_000): Promise<string> {
    const number = this.#next;
    const end = Date.now() + deadlineMs;
    assert.ok(await this.post(1), 'the event was not accepted');
    for (;;) {
      const subject = this.#server.mails.map(subjectOf).find((one) => one.endsWith(` claim ${number}`));
      if (subject !== undefined) return subject;
      if (Date.now() > end) throw new Error(`the mail of event ${number} has not come within ${deadlineMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Events one after the other, each of which must be accepted, until the end, which answers the longest that one took, ms. */
  ingesting(): () => Promise<number> {
    let [isOn, slowestMs] = [true, 0];
    const sending = (async () => {
      for (let began = performance.now(); isOn; began = performance.now()) {
        assert.ok(await this.post(1), 'an event was not accepted');
        slowestMs = Math.max(slowestMs, Math.round(performance.now() - began));
      }
    })();
    return async () => {
      isOn = false;
      await sending;
      return slowestMs;
    };
  }

  /** Answers whether all of these events were accepted; events whose fate is unknown come first. */
  async post(count: number): Promise<boolean> {
    const numbers = this.#doubtful.pop() ?? Array.from({ length: count }, () => this.#next++);
    const events = numbers.map((number) => ({ type: 'track', messageId: `claim-${number}`, userId: `u${number % PEOPLE}`, event: 'Claim Opened', properties: { number } }));
    const accepted = await this.workspace.send(events).then(({ ok }) => ok, () => false);
    if (accepted) numbers.forEach((number) => this.#accepted.add(number));
    else this.#doubtful.push(numbers);
    return accepted;
  }

  /** Events one batch after the other, also while nobody takes them, until the answer is called. */
  load(batch = 5): () => Promise<void> {
    let isOn = true;
    const sending = (async () => {
      while (isOn) {
        const taken = await this.post(batch);
        await new Promise((resolve) => setTimeout(resolve, taken ? BREATH_MS : 50));
      }
    })();
    return async () => {
      isOn = false;
      await sending;
    };
  }

  /** Every event was accepted, has one delivery, and its mail has come once; twice only where the delivery says that it may have. */
  async addsUp(deadlineMs = 60_000): Promise<{ events: number; repeated: number }> {
    while (this.#doubtful.length > 0) assert.ok(await this.post(1), 'an event was not accepted');
    const events = this.#next;
    assert.equal(this.#accepted.size, events);
    return { events, repeated: await auditMails(this.workspace, this.automationId, this.#server, events, deadlineMs) };
  }
}

function subjectOf({ raw }: ReceivedMail): string {
  return /^Subject: (.*)$/im.exec(raw)![1]!.trim();
}
