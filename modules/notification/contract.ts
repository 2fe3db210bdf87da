import { z } from 'zod';
import type { Call } from '../../src/kernel/call.ts';
import { command, contract, outdatedBy, query } from '../../src/kernel/contract.ts';
import { AnyJson } from '../../src/kernel/json-schema.ts';
import { event, job } from '../../src/kernel/message.ts';

const FreeObject = z.record(z.string(), AnyJson);
const Sender = z.object({ name: z.string().max(200), email: z.email().max(254) }).nullable();
const Content = z.object({
  subject: z.string().min(1).max(1_000),
  format: z.enum(['mjml', 'html']),
  body: z.string().min(1).max(500_000),
  text: z.string().max(500_000).nullable(),
  from: Sender,
});
const Compiled = z.object({ subject: z.string(), html: z.string(), text: z.string(), from: Sender });

/** What sends ask for: one message to one person. The message's id is the delivery's id, so asking twice sends once. */
export const SendRequest = z.object({
  personId: z.string(),
  templateId: z.string(),
  channel: z.string(),
  /** What asked for it, for counting and for the reader. */
  source: z.object({ kind: z.enum(['automation', 'test']), id: z.string(), version: z.int().positive(), runId: z.string(), eventId: z.string() }),
  /** The event's properties, `event.…` in the template. */
  event: FreeObject,
});
export const sendRequested = job('notification.send-requested', SendRequest, { attempts: 12, personal: ['event'] });

/**
 * - `pending`: accepted, not sent yet (also between tries; `nextAttemptAt`).
 * - `sending`: handed to the channel, no answer yet.
 * - `sent`, `suppressed` (not sent on purpose), `failed` (never will be): final, with `reason`.
 * - `uncertain`: handed over, the answer was lost; whoever looks must know that it may have arrived.
 */
export const DeliveryState = z.enum(['pending', 'sending', 'sent', 'suppressed', 'failed', 'uncertain']);
export type DeliveryState = z.infer<typeof DeliveryState>;

const Attempt = z.object({ at: z.int(), result: z.enum(['accepted', 'rejected', 'deferred', 'uncertain']), reason: z.string(), response: z.string() });
export const Delivery = z.object({
  deliveryId: z.string(),
  personId: z.string(),
  /** The address it went to; null before it is known, and once the person was deleted. */
  to: z.string().nullable(),
  templateId: z.string(),
  templateVersion: z.int().nullable(),
  channel: z.string(),
  source: SendRequest.shape.source,
  state: DeliveryState,
  /** Stable, e.g. `opted_out`, `5.1.1`; null while there is nothing to say. */
  reason: z.string().nullable(),
  messageId: z.string(),
  /** True when an earlier try's answer was lost, so that the person may have the mail twice (same Message-ID). */
  mayBeRepeated: z.boolean(),
  attempts: z.array(Attempt),
  nextAttemptAt: z.int().nullable(),
  createdAt: z.int(),
  updatedAt: z.int(),
});
export type Delivery = z.infer<typeof Delivery>;

/** A delivery has come to rest: sent, suppressed, failed or uncertain. */
export const deliveryUpdated = event(
  'notification.delivery-updated',
  z.object({
    deliveryId: z.string(),
    personId: z.string(),
    templateId: z.string(),
    channel: z.string(),
    state: DeliveryState,
    reason: z.string().nullable(),
    source: SendRequest.shape.source,
    time: z.int(),
  }),
  { orderBy: (e) => e.deliveryId },
);

/** A person has unsubscribed by the link or the mail program's button. Suppressed already; portal records the consent. */
export const unsubscribed = event('notification.unsubscribed', z.object({ personId: z.string(), channel: z.string(), time: z.int() }), {
  orderBy: (e) => e.personId,
});

const Page = { after: z.string().optional(), limit: z.int().min(1).max(200) };
const Empty = z.object({});
const CompileTemplate = z.object({ content: Content });
const Preview = z.object({ content: Content, person: z.object({ personId: z.string(), email: z.string().nullable(), attributes: FreeObject }), event: FreeObject });
const Rendered = z.object({ from: z.string(), to: z.string(), subject: z.string(), html: z.string(), text: z.string() });
const SendTest = z.object({ content: Content, templateId: z.string(), channel: z.string(), to: z.email().max(254), person: Preview.shape.person, event: FreeObject });
const Track = z.object({ deliveryId: z.string() });
const ListDeliveries = z.object({ personId: z.string().optional(), sourceId: z.string().optional(), state: DeliveryState.optional(), ...Page });
const Deliveries = z.object({ items: z.array(Delivery), next: z.string().nullable() });
const CountDeliveries = z.object({ sourceId: z.string() });
/** audience = sent + pending + uncertain + the sums of suppressed and failed, at every moment. */
const DeliveryCounts = z.object({
  audience: z.int(),
  sent: z.int(),
  pending: z.int(),
  uncertain: z.int(),
  suppressed: z.record(z.string(), z.int()),
  failed: z.record(z.string(), z.int()),
});
const OutboxMail = z.object({ deliveryId: z.string(), from: z.string(), to: z.string(), subject: z.string(), storedAt: z.int(), bytes: z.int() });
const OutboxList = z.object({ items: z.array(OutboxMail), next: z.string().nullable() });
const OutboxMessage = z.object({ ...OutboxMail.shape, html: z.string().nullable(), text: z.string().nullable(), raw: z.string() });
const Token = z.object({ token: z.string().max(1_000) });
const Unsubscribe = z.object({ workspace: z.string(), personId: z.string(), channel: z.string() });
const Suppression = z.object({ address: z.string().min(3).max(254), channel: z.string(), reason: z.string().min(1).max(200), createdAt: z.int() });
const Suppressions = z.object({ items: z.array(Suppression), next: z.string().nullable() });
const SuppressionKey = z.object({ address: z.string().min(3).max(254), channel: z.string() });

/**
 * What other modules may ask of notification. Each answers for the call's workspace only, except the two that carry a
 * signed token. Lists are newest first.
 */
export interface Notification {
  /** MJML to HTML, Liquid checked but left in. Fault `invalid`/`template_invalid` with details.problems, each with its line. */
  compileTemplate(request: z.infer<typeof CompileTemplate>, call: Call): Promise<z.infer<typeof Compiled>>;
  /** Rendered by the renderer that sends. Faults `invalid`/`template_invalid`, `template_failed` (limits, time-out). */
  preview(request: z.infer<typeof Preview>, call: Call): Promise<z.infer<typeof Rendered>>;
  /** Queues one mail to the given address, rendered as the given person. */
  sendTest(request: z.infer<typeof SendTest>, call: Call): Promise<z.infer<typeof Track>>;
  /** Where one delivery stands. */
  track(request: z.infer<typeof Track>, call: Call): Promise<Delivery>;
  /** A page may be short, even empty, and have a next one: with several filters each call looks through a bounded number. */
  listDeliveries(request: z.infer<typeof ListDeliveries>, call: Call): Promise<z.infer<typeof Deliveries>>;
  countDeliveries(request: z.infer<typeof CountDeliveries>, call: Call): Promise<z.infer<typeof DeliveryCounts>>;
  /** What the outbox channel holds; empty when mails leave by SMTP. */
  listOutbox(request: z.infer<typeof ListOutbox>, call: Call): Promise<z.infer<typeof OutboxList>>;
  readOutbox(request: z.infer<typeof Track>, call: Call): Promise<z.infer<typeof OutboxMessage>>;
  /** Whom the token of an unsubscribe link speaks of; changes nothing. Fault `not_found`/`token_invalid`. */
  readUnsubscribeToken(request: z.infer<typeof Token>, call: Call): Promise<z.infer<typeof Unsubscribe>>;
  /** Nothing more is sent to the person from when this answers. Repeating it changes nothing. */
  unsubscribe(request: z.infer<typeof Token>, call: Call): Promise<z.infer<typeof Unsubscribe>>;
  listSuppressions(request: z.infer<typeof ListSuppressions>, call: Call): Promise<z.infer<typeof Suppressions>>;
  /** Nothing more is sent to the address from when this answers. Repeating it changes nothing, the reason neither. */
  suppress(request: z.infer<typeof Suppress>, call: Call): Promise<z.infer<typeof Empty>>;
  /** Lifts what is on the address; what a person has opted out of stays. */
  unsuppress(request: z.infer<typeof SuppressionKey>, call: Call): Promise<z.infer<typeof Empty>>;
}
const ListOutbox = z.object({ ...Page });
const ListSuppressions = z.object({ ...Page });
const Suppress = Suppression.omit({ createdAt: true });

const template = ['template_invalid', 'template_failed'];
const deliveryMissing = ['delivery_not_found'];
export const notification = contract<Notification>('notification', {
  compileTemplate: query({ input: CompileTemplate, output: Compiled, timeoutMs: 10_000, faults: template }),
  preview: query({ input: Preview, output: Rendered, timeoutMs: 10_000, faults: template }),
  sendTest: command({ input: SendTest, output: Track, timeoutMs: 10_000, faults: [...template, 'channel_not_found'] }),
  track: query({
    input: Track,
    output: Delivery,
    timeoutMs: 300,
    faults: deliveryMissing,
    cache: { ttlMs: 5_000, staleIfErrorMs: 60_000, keyBy: (r) => r.deliveryId, dropOn: [outdatedBy(deliveryUpdated, (e) => e.deliveryId)] },
  }),
  listDeliveries: query({ input: ListDeliveries, output: Deliveries, timeoutMs: 2_000, faults: ['cursor_invalid'] }),
  countDeliveries: query({ input: CountDeliveries, output: DeliveryCounts, timeoutMs: 2_000 }),
  listOutbox: query({ input: ListOutbox, output: OutboxList, timeoutMs: 2_000 }),
  readOutbox: query({ input: Track, output: OutboxMessage, timeoutMs: 2_000, faults: deliveryMissing }),
  readUnsubscribeToken: query({ input: Token, output: Unsubscribe, timeoutMs: 2_000, faults: ['token_invalid'] }),
  unsubscribe: command({ input: Token, output: Unsubscribe, timeoutMs: 5_000, faults: ['token_invalid'] }),
  listSuppressions: query({ input: ListSuppressions, output: Suppressions, timeoutMs: 2_000, faults: ['cursor_invalid'] }),
  suppress: command({ input: Suppress, output: Empty, timeoutMs: 2_000 }),
  unsuppress: command({ input: SuppressionKey, output: Empty, timeoutMs: 2_000 }),
});
