import { injectable } from 'inversify';
import { z } from 'zod';
import { type Notification, deliveryUpdated, notification, unsubscribed } from '../../modules/notification/contract.ts';
import type { Call } from '../../src/kernel/call.ts';
import { Fault } from '../../src/kernel/fault.ts';
import { newId } from '../../src/kernel/ids.ts';
import { defineModule } from '../../src/kernel/module.ts';

/** What the stand-in was asked, for tests of whoever asks. */
export interface Asked {
  readonly method: string;
  readonly request: unknown;
  readonly workspace: string | null;
}

type Outbox = Awaited<ReturnType<Notification['readOutbox']>>;

/** Answers as notification's contract says, from memory, without rendering or sending: for tests of portal's own side. */
@injectable()
export class NotificationStandIn implements Notification {
  readonly asked: Asked[] = [];
  readonly outbox = new Map<string, { workspace: string; mail: Outbox }>();
  readonly suppressed = new Map<string, { workspace: string; address: string; channel: string; reason: string; createdAt: number }>();
  readonly unsubscribed = new Set<string>();
  /** The only token that is valid. */
  readonly token = 'good-token';
  /** Resolves what `compileTemplate` waits for; nothing by default. */
  beforeCompiling: () => Promise<void> = async () => {};

  async compileTemplate({ content }: Parameters<Notification['compileTemplate']>[0], call: Call) {
    this.#note('compileTemplate', content, call);
    await this.beforeCompiling();
    if (content.body.includes('{% broken')) throw new Fault('invalid', 'The template cannot be compiled.', { reason: 'template_invalid', details: { problems: [{ line: 1, problem: 'tag "broken" not found' }] } });
    return { subject: content.subject, html: content.body, text: content.text ?? '', from: content.from };
  }

  async preview({ content, person }: Parameters<Notification['preview']>[0], call: Call) {
    this.#note('preview', person, call);
    return { from: 'Agency <agency@example.com>', to: person.email ?? '', subject: content.subject, html: content.body, text: content.text ?? '' };
  }

  async sendTest(request: Parameters<Notification['sendTest']>[0], call: Call) {
    this.#note('sendTest', request, call);
    const deliveryId = newId();
    const { subject, body, text } = request.content;
    const mail = { deliveryId, from: 'agency@example.com', to: request.to, subject, storedAt: 1, bytes: body.length, html: body, text, raw: `Subject: ${subject}\r\n\r\n${body}` };
    this.outbox.set(deliveryId, { workspace: call.requireWorkspace(), mail });
    return { deliveryId };
  }

  async track({ deliveryId }: { deliveryId: string }, call: Call): Promise<never> {
    this.#note('track', deliveryId, call);
    throw new Fault('not_found', 'No such delivery.', { reason: 'delivery_not_found' });
  }

  async listDeliveries(request: Parameters<Notification['listDeliveries']>[0], call: Call) {
    this.#note('listDeliveries', request, call);
    return { items: [], next: null };
  }

  async countDeliveries() {
    return { audience: 0, sent: 0, pending: 0, uncertain: 0, suppressed: {}, failed: {} };
  }

  async listOutbox({ after, limit }: { after?: string | undefined; limit: number }, call: Call) {
    const mails = [...this.outbox.values()].filter((each) => each.workspace === call.requireWorkspace()).map(({ mail: { html: _h, text: _t, raw: _r, ...mail } }) => mail);
    const from = after === undefined ? 0 : Number(after);
    return { items: mails.slice(from, from + limit), next: mails.length > from + limit ? String(from + limit) : null };
  }

  async readOutbox({ deliveryId }: { deliveryId: string }, call: Call) {
    const found = this.outbox.get(deliveryId);
    if (found?.workspace !== call.requireWorkspace()) throw new Fault('not_found', 'No such delivery.', { reason: 'delivery_not_found' });
    return found.mail;
  }

  async readUnsubscribeToken({ token }: { token: string }) {
    this.#requireToken(token);
    return { workspace: 'w', personId: 'p', channel: 'email' };
  }

  async unsubscribe({ token }: { token: string }, call: Call) {
    this.#requireToken(token);
    this.#note('unsubscribe', token, call);
    this.unsubscribed.add(token);
    return { workspace: 'w', personId: 'p', channel: 'email' };
  }

  async listSuppressions(_request: object, call: Call) {
    return { items: [...this.suppressed.values()].filter((each) => each.workspace === call.requireWorkspace()).map(({ workspace: _, ...each }) => each), next: null };
  }

  async suppress({ address, channel, reason }: { address: string; channel: string; reason: string }, call: Call) {
    this.suppressed.set(`${call.requireWorkspace()} ${channel} ${address}`, { workspace: call.requireWorkspace(), address, channel, reason, createdAt: 1 });
    return {};
  }

  async unsuppress({ address, channel }: { address: string; channel: string }, call: Call) {
    this.suppressed.delete(`${call.requireWorkspace()} ${channel} ${address}`);
    return {};
  }

  #requireToken(token: string): void {
    if (token !== this.token) throw new Fault('not_found', 'The token is not valid.', { reason: 'token_invalid' });
  }

  #note(method: string, request: unknown, call: Call): void {
    this.asked.push({ method, request, workspace: call.workspace });
  }
}

export const notificationStandIn = defineModule({
  name: 'notification',
  contract: notification,
  implementation: NotificationStandIn,
  calls: [],
  migrations: [],
  subscriptions: [],
  publishes: [deliveryUpdated, unsubscribed],
  settings: z.strictObject({}),
  parts: [],
  lifecycles: [],
});
