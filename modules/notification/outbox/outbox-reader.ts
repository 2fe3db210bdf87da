import { inject, injectable } from 'inversify';
import type { Email } from 'postal-mime';
import type { z } from 'zod';
import { Fault } from '../../../src/kernel/fault.ts';
import { Channels, type KeptMail, type KeptMails } from '../../../src/ports/channel.ts';
import type { notification } from '../contract.ts';

type Answer<Operation extends keyof typeof notification.operations> = z.infer<(typeof notification.operations)[Operation]['output']>;

/** Shows what a channel keeps instead of sending. */
@injectable()
export class OutboxReader {
  readonly #kept: KeptMails | undefined;

  constructor(@inject(Channels) channels: Channels) {
    this.#kept = [...channels.values()].find((channel) => channel.kept !== undefined)?.kept;
  }

  /** Newest first; empty where no channel keeps mails. */
  async list(workspace: string, { after, limit }: { readonly after?: string | undefined; readonly limit: number }): Promise<Answer<'listOutbox'>> {
    if (this.#kept === undefined) return { items: [], next: null };
    const { mails, next } = await this.#kept.list(workspace, { limit, ...(after === undefined ? {} : { after }) });
    return { items: await Promise.all(mails.map(async (mail) => summary(mail, await parseHead(mail.raw)))), next };
  }

  /** Fault `not_found` with reason `delivery_not_found`. */
  async read(workspace: string, deliveryId: string): Promise<Answer<'readOutbox'>> {
    const mail = await this.#kept?.read(workspace, deliveryId);
    if (mail === undefined || mail === null) throw new Fault('not_found', 'The outbox holds no mail of this delivery.', { reason: 'delivery_not_found' });
    const email = await parse(mail.raw);
    return { ...summary(mail, email), html: email.html ?? null, text: email.text ?? null, raw: Buffer.from(mail.raw).toString('latin1') };
  }
}

function parseHead(raw: Uint8Array): Promise<Email> {
  const end = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).indexOf('\r\n\r\n');
  return parse(end < 0 ? raw : raw.subarray(0, end + 4));
}

/** Loaded for the first mail that somebody looks at. */
async function parse(raw: Uint8Array): Promise<Email> {
  const { default: PostalMime } = await import('postal-mime');
  return PostalMime.parse(raw);
}

function summary({ deliveryId, storedAt, bytes }: KeptMail, { from, to, subject }: Email): Answer<'listOutbox'>['items'][number] {
  return { deliveryId, storedAt, bytes, from: mailbox(from), to: (to ?? []).map(mailbox).join(', '), subject: subject ?? '' };
}

function mailbox(address: Email['from']): string {
  if (address === undefined) return '';
  return address.name ? `${address.name} <${address.address ?? ''}>` : (address.address ?? '');
}
