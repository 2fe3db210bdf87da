import { inject, injectable } from 'inversify';
import { createHash } from 'node:crypto';
import type { z } from 'zod';
import { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { Installation, Settings } from '../../../src/kernel/module.ts';
import type { CompiledTemplate, Person } from '../../portal/contract.ts';
import { parseAddress } from '../compose/address.ts';
import { composeMail, messageIdOf } from '../compose/message.ts';
import type { TemplateSource } from '../render/liquid-engine.ts';
import { type Pace, Renderer } from '../render/renderer.ts';
import type { NotificationSettings } from '../settings.ts';
import { Templates } from '../templates/templates.ts';
import { TestMails } from '../templates/test-mails.ts';
import { UnsubscribeTokens } from '../unsubscribe/token.ts';
import type { SendJob, StoredDelivery } from './delivery.ts';
import { Recipients } from './recipients.ts';

type Compiled = z.infer<typeof CompiledTemplate>;

/** A mail that is ready for the wire. */
export interface PreparedMail {
  readonly kind: 'ready';
  /** Another one than was asked for when that one has been merged since. */
  readonly personId: string;
  readonly to: string;
  readonly from: string;
  readonly templateVersion: number;
  readonly messageId: string;
  /** The message as it goes out. Made when its turn has come: it weighs the most, and so lives the shortest. */
  compose(): Uint8Array;
}

/** Why there will be no mail; `words` say more, when there is more to say. */
export interface NoMail {
  readonly kind: 'suppressed' | 'failed';
  readonly reason: string;
  readonly words?: string;
}

interface Ingredients {
  readonly key: string;
  readonly version: number;
  readonly compiled: Compiled;
  readonly personId: string;
  readonly to: string;
  readonly person: object;
  readonly event: object;
}

/** Makes the mail of a delivery from what is true now: the person as they stand, the version that is published. */
@injectable()
export class Preparation {
  readonly #recipients: Recipients;
  readonly #templates: Templates;
  readonly #testMails: TestMails;
  readonly #renderer: Renderer;
  readonly #clock: Clock;
  readonly #sender: NotificationSettings['sender'];
  readonly #publicUrl: string;
  readonly #tokens: UnsubscribeTokens;

  constructor(
    @inject(Recipients) recipients: Recipients,
    @inject(Templates) templates: Templates,
    @inject(TestMails) testMails: TestMails,
    @inject(Renderer) renderer: Renderer,
    @inject(Clock) clock: Clock,
    @inject(Settings) settings: NotificationSettings,
    @inject(Installation) installation: Installation,
  ) {
    this.#recipients = recipients;
    this.#templates = templates;
    this.#testMails = testMails;
    this.#renderer = renderer;
    this.#clock = clock;
    this.#sender = settings.sender;
    this.#publicUrl = installation.publicUrl;
    this.#tokens = new UnsubscribeTokens(installation.secret);
  }

  /** Where mails come from that name no sender. */
  get senderDomain(): string {
    return parseAddress(this.#sender.email)!.domain;
  }

  /**
   * Throws only what is worth another try: portal or the renderer cannot be reached, or the template is too slow for
   * `pace`. `before` is the delivery so far; once it was tried its Message-ID stays, whatever sender the template has by
   * now.
   */
  async prepare(job: SendJob, before: StoredDelivery | null, pace: Pace): Promise<PreparedMail | NoMail> {
    const found = job.source.kind === 'test' ? await this.#testIngredients(job) : await this.#ingredients(job);
    if ('kind' in found) return found;
    const sender = found.compiled.from ?? this.#sender;
    const from = parseAddress(sender.email);
    if (from === null) return { kind: 'failed', reason: 'sender_invalid' };
    const url = this.unsubscribeUrl({ ...job, personId: found.personId });
    const parts = await this.#render(found, { person: found.person, event: found.event, unsubscribe_url: url }, pace).catch(failedTemplate);
    if ('kind' in parts) return parts;
    const messageId = before !== null && before.attempts.length > 0 ? before.messageId : messageIdOf(job.id, from.domain);
    const compose = () =>
      composeMail({
        messageId,
        to: found.to,
        from: { name: found.compiled.from === null ? sender.name : parts.fromName, email: from.email },
        subject: parts.subject,
        html: parts.html,
        text: parts.text.replace(/\n{3,}/g, '\n\n'),
        unsubscribeUrl: url,
        now: this.#clock.now(),
      });
    return { kind: 'ready', personId: found.personId, to: found.to, from: from.email, templateVersion: found.version, messageId, compose };
  }

  unsubscribeUrl({ workspace, personId, channel, source }: Pick<SendJob, 'workspace' | 'personId' | 'channel' | 'source'>): string {
    return `${this.#publicUrl}/u/${this.#tokens.write({ workspace, personId, channel, test: source.kind === 'test' })}`;
  }

  #render({ key, compiled }: Ingredients, data: object, pace: Pace): Promise<TemplateSource> {
    return this.#renderer.render(key, sourceOf(compiled), data, pace);
  }

  async #ingredients(job: SendJob): Promise<Ingredients | NoMail> {
    const [person, template] = await Promise.all([this.#recipients.get(job.workspace, job.personId), this.#template(job)]);
    const to = addressee(person);
    if (typeof to !== 'string') return to;
    if ('kind' in template) return template;
    const { version, compiled } = template;
    return { key: versionKey(job.workspace, job.templateId, version), version, compiled, personId: person!.personId, to, person: personData(person!), event: job.event };
  }

  async #template(job: SendJob): Promise<{ version: number; compiled: Compiled } | NoMail> {
    try {
      return await this.#templates.published(job.workspace, job.templateId);
    } catch (fault) {
      if (Fault.is(fault) && fault.code === 'not_found') return { kind: 'failed', reason: fault.reason };
      throw fault;
    }
  }

  async #testIngredients(job: SendJob): Promise<Ingredients | NoMail> {
    const mail = await this.#testMails.find(job.workspace, job.id);
    if (mail === null) return { kind: 'failed', reason: 'test_mail_missing' };
    const key = createHash('sha256').update(JSON.stringify(mail.compiled)).digest('base64url');
    return { key, version: job.source.version, compiled: mail.compiled, personId: job.personId, to: mail.to, person: mail.person, event: mail.event };
  }
}

/** Whom the mail goes to, or why to nobody. */
function addressee(person: Person | null): string | NoMail {
  if (person === null || person.gone) return { kind: 'suppressed', reason: 'person_gone' };
  if (person.consent.email === 'denied') return { kind: 'suppressed', reason: 'opted_out' };
  if (person.email === null || person.email.trim() === '') return { kind: 'suppressed', reason: 'no_address' };
  return parseAddress(person.email)?.email ?? { kind: 'suppressed', reason: 'invalid_address' };
}

/** `person.…` in a template: the attributes, and what portal itself knows, which wins. */
export function personData({ attributes, personId, userId, email, timeZone }: Pick<Person, 'attributes' | 'personId' | 'email'> & Partial<Pick<Person, 'userId' | 'timeZone'>>): object {
  return { ...attributes, personId, email, ...(userId === undefined ? {} : { userId }), ...(timeZone === undefined ? {} : { timeZone }) };
}

/** What the renderer knows a published version by. */
export function versionKey(workspace: string, templateId: string, version: number): string {
  return `${workspace} ${templateId} ${version}`;
}

export function sourceOf({ subject, html, text, from }: Compiled): TemplateSource {
  return { subject, html, text, fromName: from?.name ?? '' };
}

function failedTemplate(fault: unknown): NoMail {
  if (Fault.is(fault) && fault.code === 'invalid') return { kind: 'failed', reason: fault.reason, words: fault.message };
  throw fault;
}
