import { z } from 'zod';
import type { Call } from '../../src/kernel/call.ts';
import { contract, outdatedBy, query } from '../../src/kernel/contract.ts';
import { AnyJson } from '../../src/kernel/json-schema.ts';
import { event } from '../../src/kernel/message.ts';

/** `unknown` may be mailed to (existing customers); `denied` never. */
export const ConsentState = z.enum(['granted', 'denied', 'unknown']);
export type ConsentState = z.infer<typeof ConsentState>;

/** Free JSON under free names, as Segment's traits and properties are. */
export const Attributes = z.record(z.string(), AnyJson);
export type Attributes = z.infer<typeof Attributes>;

/** All that other modules know of a person. Grows by fields only. */
export const Person = z.object({
  personId: z.string(),
  /** Rises by one with every change; the higher one is the newer. */
  version: z.int().nonnegative(),
  /** The id that the sender of the events uses; null while the person is anonymous. */
  userId: z.string().nullable(),
  email: z.string().nullable(),
  attributes: Attributes,
  /** IANA name, e.g. `America/New_York`. */
  timeZone: z.string().nullable(),
  consent: z.object({ email: ConsentState }),
  /** Deleted or merged away: nothing may be sent. */
  gone: z.boolean(),
});
export type Person = z.infer<typeof Person>;

const GetRecipients = z.object({ personIds: z.array(z.string()).max(1000) });
const Recipients = z.object({
  people: z.array(Person),
  /** Of the ids asked for, those that were merged: whom each went up in, who is among `people` too. */
  merged: z.record(z.string(), z.string()),
});

/** What a template says, as its author wrote it. Liquid in every text. */
export const TemplateContent = z.object({
  subject: z.string().min(1).max(1_000),
  format: z.enum(['mjml', 'html']),
  body: z.string().min(1).max(500_000),
  /** The plain-text alternative; null has it made from the HTML. */
  text: z.string().max(500_000).nullable(),
  /** Null: the installation's own sender. */
  from: z.object({ name: z.string().max(200), email: z.email().max(254) }).nullable(),
});
export type TemplateContent = z.infer<typeof TemplateContent>;

/** What publishing makes of it: MJML is HTML by then, Liquid is still Liquid. */
export const CompiledTemplate = z.object({ subject: z.string(), html: z.string(), text: z.string(), from: TemplateContent.shape.from });
export type CompiledTemplate = z.infer<typeof CompiledTemplate>;

const GetTemplate = z.object({
  templateId: z.string(),
  /** Null: the version that is published now. A given version never changes. */
  version: z.int().positive().nullable(),
});
export const PublishedTemplate = z.object({ templateId: z.string(), name: z.string(), version: z.int().positive(), compiled: CompiledTemplate });
export type PublishedTemplate = z.infer<typeof PublishedTemplate>;

/** An event of a person has been recorded (Segment's track, page or screen). Once per messageId of its sender. */
export const eventRecorded = event(
  'portal.event-recorded',
  z.object({
    eventId: z.string(),
    type: z.enum(['track', 'page', 'screen']),
    name: z.string(),
    properties: Attributes,
    /** When it happened, by its sender's word; at most now. */
    time: z.int(),
    /** As the person stood right after the event. */
    person: Person,
  }),
  { orderBy: (e) => e.person.personId, personal: ['properties', 'person'] },
);

/** A person was made, changed, merged or deleted. */
export const personChanged = event(
  'portal.person-changed',
  z.object({
    person: Person,
    /** Persons that went up in this one; what was planned for them goes on under this id. */
    mergedFrom: z.array(z.string()),
  }),
  { orderBy: (e) => e.person.personId, personal: ['person'] },
);

/** A template has a new published version. */
export const templatePublished = event('portal.template-published', z.object({ templateId: z.string(), version: z.int().positive() }), {
  orderBy: (e) => e.templateId,
});

/** What other modules may ask of portal, the system of record. Each answers for the call's workspace only. */
export interface Portal {
  /** The persons as they stand now, in no particular order; an id that is not known (any more) is left out. */
  getRecipients(request: z.infer<typeof GetRecipients>, call: Call): Promise<z.infer<typeof Recipients>>;
  /** Fault `not_found` with reason `template_not_found` or `template_not_published`. */
  getTemplate(request: z.infer<typeof GetTemplate>, call: Call): Promise<PublishedTemplate>;
}

export const portal = contract<Portal>('portal', {
  getRecipients: query({ input: GetRecipients, output: Recipients, timeoutMs: 2_000 }),
  getTemplate: query({
    input: GetTemplate,
    output: PublishedTemplate,
    timeoutMs: 2_000,
    faults: ['template_not_found', 'template_not_published'],
    cache: { ttlMs: 60_000, staleIfErrorMs: 600_000, keyBy: (r) => `${r.templateId}:${r.version ?? ''}`, dropOn: [outdatedBy(templatePublished, (e) => `${e.templateId}:`)] },
  }),
});
