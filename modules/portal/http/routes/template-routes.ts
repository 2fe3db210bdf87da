import { inject, injectable } from 'inversify';
import { z } from 'zod';
import type { Call } from '../../../../src/kernel/call.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { notification } from '../../../notification/contract.ts';
import type { Notification } from '../../../notification/contract.ts';
import { Attributes, TemplateContent } from '../../contract.ts';
import { Recipients } from '../../people/recipients.ts';
import { type TemplateCursor, Templates } from '../../templates/templates.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { Id, listOf, page, pageOf } from './shapes.ts';

const Summary = z.object({
  templateId: z.string(),
  name: z.string(),
  revision: z.int(),
  publishedVersion: z.int().nullable(),
  createdAt: z.int(),
  updatedAt: z.int(),
});
const Template = z.object({ ...Summary.shape, draft: TemplateContent });
const VersionSummary = z.object({ version: z.int(), name: z.string(), createdAt: z.int(), createdBy: z.string() });
const Version = z.object({ ...VersionSummary.shape, content: TemplateContent });
const Rendered = z.object({ from: z.string(), to: z.string(), subject: z.string(), html: z.string(), text: z.string() });

const Name = z.string().trim().min(1).max(200);
/** Two texts of 500,000 characters each, as JSON. */
const MAX_BODY_BYTES = 4_194_304;

/** As whom a draft or version is rendered. */
const rendering = {
  personId: Id,
  /** Left out: the draft as it stands. */
  version: z.int().positive().optional(),
  /** What `event.…` reads. */
  event: Attributes.optional(),
};

@injectable()
export class TemplateRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];
  readonly #templates: Templates;
  readonly #notification: Notification;
  readonly #recipients: Recipients;

  constructor(@inject(Templates) templates: Templates, @inject(notification.id) mailer: Notification, @inject(Recipients) recipients: Recipients) {
    this.#templates = templates;
    this.#notification = mailer;
    this.#recipients = recipients;
    this.routes = [...this.#drafts(), ...this.#versions(), ...this.#renderings()];
  }

  #drafts(): AnyRoute[] {
    const templates = this.#templates;
    const tag = 'Templates';
    const params = z.strictObject({ templateId: Id });
    return [
      route({
        id: 'listTemplates',
        method: 'GET',
        path: '/templates',
        tag,
        summary: 'Templates, without their texts.',
        access: 'read',
        list: true,
        query: z.strictObject({ ...page, order: z.enum(['newest', 'name']).default('newest') }),
        answer: listOf(Summary),
        handle: async ({ query: { after, limit, order }, call }) => {
          const rows = await templates.list({ after: after === undefined ? undefined : (JSON.parse(after) as TemplateCursor), limit: limit + 1, order }, call);
          return { body: pageOf(rows, limit, (last) => JSON.stringify({ name: last.name, id: last.templateId } satisfies TemplateCursor)) };
        },
      }),
      route({
        id: 'createTemplate',
        method: 'POST',
        path: '/templates',
        tag,
        summary: 'Make a template with a draft. Nothing is sent from it before it is published.',
        access: 'write',
        body: z.strictObject({ name: Name, draft: TemplateContent }),
        answer: Template,
        status: 201,
        ifMatch: true,
        maxBodyBytes: MAX_BODY_BYTES,
        faults: ['too_many_templates'],
        handle: async ({ body, call }) => {
          const made = await templates.create(body.name, body.draft, call);
          return { body: made, etag: made.revision, location: `/templates/${made.templateId}`, targetId: made.templateId };
        },
      }),
      route({
        id: 'getTemplate',
        method: 'GET',
        path: '/templates/{templateId}',
        tag,
        summary: 'A template with its draft.',
        access: 'read',
        params,
        answer: Template,
        ifMatch: true,
        faults: ['template_not_found'],
        handle: async ({ params: { templateId }, call }) => {
          const found = await templates.get(templateId, call);
          return { body: found, etag: found.revision };
        },
      }),
      route({
        id: 'updateTemplate',
        method: 'PATCH',
        path: '/templates/{templateId}',
        tag,
        summary: 'Change the name or the draft. What is published stays as it is.',
        access: 'write',
        params,
        body: z.strictObject({ name: Name.optional(), draft: TemplateContent.optional() }),
        answer: Template,
        ifMatch: true,
        maxBodyBytes: MAX_BODY_BYTES,
        faults: ['template_not_found', 'version_changed'],
        handle: async ({ params: { templateId }, body, ifMatch, call }) => {
          const changed = await templates.update(templateId, { ...body, ifRevision: ifMatch }, call);
          return { body: changed, etag: changed.revision };
        },
      }),
    ];
  }

  #versions(): AnyRoute[] {
    const templates = this.#templates;
    const tag = 'Templates';
    const params = z.strictObject({ templateId: Id });
    return [
      route({
        id: 'publishTemplate',
        method: 'POST',
        path: '/templates/{templateId}/publish',
        tag,
        summary: 'Compile the draft and send it from now on. Publishing what is published already changes nothing.',
        access: 'write',
        params,
        answer: z.object({ template: Summary, version: VersionSummary }),
        ifMatch: true,
        faults: ['template_not_found', 'template_invalid', 'version_changed', 'too_many_versions'],
        handle: async ({ params: { templateId }, ifMatch, call }) => {
          const { template, version } = await templates.publish(templateId, ifMatch, call);
          return { body: { template, version }, etag: template.revision };
        },
      }),
      route({
        id: 'listTemplateVersions',
        method: 'GET',
        path: '/templates/{templateId}/versions',
        tag,
        summary: 'Published versions, newest first, without their texts.',
        access: 'read',
        list: true,
        params,
        query: z.strictObject(page),
        answer: listOf(VersionSummary),
        faults: ['template_not_found'],
        handle: async ({ params: { templateId }, query: { after, limit }, call }) => {
          const rows = await templates.versions(templateId, { before: after === undefined ? undefined : Number(after), limit: limit + 1 }, call);
          return { body: pageOf(rows, limit, (last) => String(last.version)) };
        },
      }),
      route({
        id: 'getTemplateVersion',
        method: 'GET',
        path: '/templates/{templateId}/versions/{version}',
        tag,
        summary: 'What a published version says. It never changes.',
        access: 'read',
        params: z.strictObject({ templateId: Id, version: z.int().positive() }),
        answer: Version,
        faults: ['template_not_published'],
        handle: async ({ params: { templateId, version }, call }) => ({ body: await templates.version(templateId, version, call) }),
      }),
    ];
  }

  #renderings(): AnyRoute[] {
    const tag = 'Templates';
    const params = z.strictObject({ templateId: Id });
    return [
      route({
        id: 'previewTemplate',
        method: 'POST',
        path: '/templates/{templateId}/preview',
        tag,
        summary: 'The draft, or a version, as this person would get it, by the renderer that sends. Sends nothing.',
        access: 'read',
        readsOnly: true,
        idempotent: false,
        params,
        body: z.strictObject(rendering),
        answer: Rendered,
        faults: ['template_not_found', 'template_not_published', 'template_invalid', 'template_failed', 'person_not_found'],
        handle: async ({ params: { templateId }, body, call }) => {
          const content = await this.#templates.content(templateId, body.version ?? null, call);
          return { body: await this.#notification.preview({ content, person: await this.#personOf(body.personId, call), event: body.event ?? {} }, call) };
        },
      }),
      route({
        id: 'sendTest',
        method: 'POST',
        path: '/templates/{templateId}/test-sends',
        tag,
        summary: 'Send the draft, or a version, rendered as this person, to the given address. It waits in a queue first: the delivery can be read as `/deliveries/{deliveryId}` once its turn has come, and is not found until then.',
        access: 'write',
        params,
        body: z.strictObject({ ...rendering, to: z.email().max(254), channel: z.string().min(1).max(50).default('email') }),
        answer: z.object({ deliveryId: z.string() }),
        status: 202,
        faults: ['template_not_found', 'template_not_published', 'template_invalid', 'template_failed', 'person_not_found', 'channel_not_found'],
        handle: async ({ params: { templateId }, body, call }) => {
          const content = await this.#templates.content(templateId, body.version ?? null, call);
          const person = await this.#personOf(body.personId, call);
          const { deliveryId } = await this.#notification.sendTest({ content, templateId, channel: body.channel, to: body.to, person, event: body.event ?? {} }, call);
          // Without a Location: nothing is there yet.
          return { body: { deliveryId } };
        },
      }),
    ];
  }

  async #personOf(personId: string, call: Call): Promise<{ personId: string; email: string | null; attributes: z.infer<typeof Attributes> }> {
    const { people, merged } = await this.#recipients.getRecipients({ personIds: [personId] }, call);
    const person = people.find((one) => one.personId === (merged[personId] ?? personId));
    if (person === undefined || person.gone) throw new Fault('not_found', 'There is no such person in this workspace.', { reason: 'person_not_found' });
    return { personId: person.personId, email: person.email, attributes: person.attributes };
  }
}
