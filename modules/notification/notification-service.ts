import { inject, injectable } from 'inversify';
import type { Call } from '../../src/kernel/call.ts';
import { Fault } from '../../src/kernel/fault.ts';
import { Installation, Settings } from '../../src/kernel/module.ts';
import { Channels } from '../../src/ports/channel.ts';
import { parseAddress } from './compose/address.ts';
import { headerText } from './compose/header.ts';
import type { Notification } from './contract.ts';
import { DeliveryQueries } from './deliveries/delivery-queries.ts';
import { personData, sourceOf } from './deliveries/preparation.ts';
import { OutboxReader } from './outbox/outbox-reader.ts';
import { Renderer } from './render/renderer.ts';
import type { NotificationSettings } from './settings.ts';
import { Suppressions } from './suppressions/suppressions.ts';
import { TestMails } from './templates/test-mails.ts';
import { UnsubscribeTokens, type UnsubscribeSubject } from './unsubscribe/token.ts';

type Requests = { [K in keyof Notification]: Parameters<Notification[K]>[0] };
type Content = Requests['compileTemplate']['content'];
type Compiled = Awaited<ReturnType<Notification['compileTemplate']>>;

/** The contract: who may ask, and which part answers. */
@injectable()
export class NotificationService implements Notification {
  readonly #renderer: Renderer;
  readonly #deliveries: DeliveryQueries;
  readonly #suppressions: Suppressions;
  readonly #outbox: OutboxReader;
  readonly #testMails: TestMails;
  readonly #channels: Channels;
  readonly #sender: NotificationSettings['sender'];
  readonly #publicUrl: string;
  readonly #tokens: UnsubscribeTokens;

  constructor(
    @inject(Renderer) renderer: Renderer,
    @inject(DeliveryQueries) deliveries: DeliveryQueries,
    @inject(Suppressions) suppressions: Suppressions,
    @inject(OutboxReader) outbox: OutboxReader,
    @inject(TestMails) testMails: TestMails,
    @inject(Channels) channels: Channels,
    @inject(Settings) settings: NotificationSettings,
    @inject(Installation) installation: Installation,
  ) {
    this.#renderer = renderer;
    this.#deliveries = deliveries;
    this.#suppressions = suppressions;
    this.#outbox = outbox;
    this.#testMails = testMails;
    this.#channels = channels;
    this.#sender = settings.sender;
    this.#publicUrl = installation.publicUrl;
    this.#tokens = new UnsubscribeTokens(installation.secret);
  }

  async compileTemplate({ content }: Requests['compileTemplate'], call: Call): Promise<Compiled> {
    call.requireWorkspace();
    return this.#compile(content);
  }

  async preview({ content, person, event }: Requests['preview'], call: Call): Promise<Awaited<ReturnType<Notification['preview']>>> {
    call.requireWorkspace();
    const compiled = await this.#compile(content);
    const parts = await this.#renderer.preview(sourceOf(compiled), { person: personData(person), event, unsubscribe_url: `${this.#publicUrl}/u/preview` });
    const from = compiled.from === null ? this.#sender : { name: parts.fromName, email: compiled.from.email };
    const name = headerText(from.name);
    return {
      from: name === '' ? from.email : `${name} <${from.email}>`,
      to: person.email ?? '',
      subject: headerText(parts.subject),
      html: parts.html,
      text: parts.text,
    };
  }

  async sendTest({ content, templateId, channel, to, person, event }: Requests['sendTest'], call: Call): Promise<{ deliveryId: string }> {
    call.requireWorkspace();
    if (!this.#channels.has(channel)) throw new Fault('not_found', `There is no channel ${JSON.stringify(channel)}.`, { reason: 'channel_not_found' });
    const address = parseAddress(to);
    if (address === null) throw new Fault('invalid', 'Mail cannot be sent to this address.', { reason: 'invalid', details: { field: 'to' } });
    const compiled = await this.#compile(content);
    const mail = { compiled, to: address.email, person: personData(person), event };
    // What fails with these very data is told at once, not by a failed delivery later.
    await this.#renderer.preview(sourceOf(compiled), { person: mail.person, event, unsubscribe_url: this.#publicUrl });
    return { deliveryId: await this.#testMails.queue(mail, { templateId, channel, personId: person.personId }, call) };
  }

  track({ deliveryId }: Requests['track'], call: Call): ReturnType<Notification['track']> {
    return this.#deliveries.find(call.requireWorkspace(), deliveryId);
  }

  listDeliveries(request: Requests['listDeliveries'], call: Call): ReturnType<Notification['listDeliveries']> {
    return this.#deliveries.list(call.requireWorkspace(), request);
  }

  countDeliveries({ sourceId }: Requests['countDeliveries'], call: Call): ReturnType<Notification['countDeliveries']> {
    return this.#deliveries.count(call.requireWorkspace(), sourceId);
  }

  listOutbox(request: Requests['listOutbox'], call: Call): ReturnType<Notification['listOutbox']> {
    return this.#outbox.list(call.requireWorkspace(), request);
  }

  readOutbox({ deliveryId }: Requests['readOutbox'], call: Call): ReturnType<Notification['readOutbox']> {
    return this.#outbox.read(call.requireWorkspace(), deliveryId);
  }

  async readUnsubscribeToken({ token }: Requests['readUnsubscribeToken']): ReturnType<Notification['readUnsubscribeToken']> {
    return shownSubject(this.#subjectOf(token));
  }

  async unsubscribe({ token }: Requests['unsubscribe']): ReturnType<Notification['unsubscribe']> {
    const subject = this.#subjectOf(token);
    if (!subject.test) await this.#suppressions.unsubscribe(subject.workspace, subject.personId, subject.channel);
    return shownSubject(subject);
  }

  listSuppressions(request: Requests['listSuppressions'], call: Call): ReturnType<Notification['listSuppressions']> {
    return this.#suppressions.list(call.requireWorkspace(), request);
  }

  async suppress(request: Requests['suppress'], call: Call): Promise<{}> {
    await this.#suppressions.suppress(call.requireWorkspace(), request);
    return {};
  }

  async unsuppress(request: Requests['unsuppress'], call: Call): Promise<{}> {
    await this.#suppressions.unsuppress(call.requireWorkspace(), request);
    return {};
  }

  async #compile(content: Content): Promise<Compiled> {
    if (content.from !== null && parseAddress(content.from.email) === null) {
      throw new Fault('invalid', 'Mail cannot come from this address.', { reason: 'template_invalid', details: { problems: [{ part: 'from', line: 0, message: 'is not an address that mail can come from' }] } });
    }
    const { subject, html, text } = await this.#renderer.compile({ ...content, fromName: content.from?.name ?? '' });
    return { subject, html, text, from: content.from };
  }

  #subjectOf(token: string): UnsubscribeSubject {
    const subject = this.#tokens.read(token);
    if (subject === null) throw new Fault('not_found', 'This link is not one of ours, or was cut short.', { reason: 'token_invalid' });
    return subject;
  }
}

function shownSubject({ workspace, personId, channel }: UnsubscribeSubject): { workspace: string; personId: string; channel: string } {
  return { workspace, personId, channel };
}
