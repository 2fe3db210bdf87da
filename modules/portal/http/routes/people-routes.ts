import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { Attributes, ConsentState, Person } from '../../contract.ts';
import { Timeline, type TimelineCursor } from '../../events/timeline.ts';
import { IngestProblems } from '../../ingest/ingest-problems.ts';
import { People } from '../../people/people.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { Empty, FreeAnswer, Id, listOf, page, pageOf } from './shapes.ts';

const PersonRecord = z.object({
  ...Person.shape,
  attributes: FreeAnswer,
  /** Who said last what `consent` says. */
  consentBy: z.enum(['nobody', 'traits', 'api', 'person']),
  consentAt: z.int(),
  createdAt: z.int(),
  updatedAt: z.int(),
});
const RecordedEvent = z.object({
  eventId: z.string(),
  type: z.enum(['track', 'page', 'screen']),
  name: z.string(),
  properties: FreeAnswer,
  context: FreeAnswer.nullable(),
  time: z.int(),
  receivedAt: z.int(),
});
const Problem = z.object({ problemId: z.string(), time: z.int(), messageId: z.string().nullable(), type: z.string().nullable(), reason: z.string(), detail: z.string() });

const Details = {
  email: z.string().min(3).max(254).nullable().optional(),
  timeZone: z.string().min(1).max(100).nullable().optional(),
  attributes: Attributes.optional(),
};
const MAX_BODY_BYTES = 131_072;

@injectable()
export class PeopleRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];
  readonly #people: People;
  readonly #timeline: Timeline;
  readonly #problems: IngestProblems;

  constructor(@inject(People) people: People, @inject(Timeline) timeline: Timeline, @inject(IngestProblems) problems: IngestProblems) {
    this.#people = people;
    this.#timeline = timeline;
    this.#problems = problems;
    this.routes = [...this.#reading(), ...this.#changing()];
  }

  #reading(): AnyRoute[] {
    const people = this.#people;
    const tag = 'People';
    const params = z.strictObject({ personId: Id });
    return [
      route({
        id: 'listPeople',
        method: 'GET',
        path: '/people',
        tag,
        summary: 'People, newest first, all or those of a `segment`. `email` or `userId` looks for what begins so, in its order.',
        access: 'read',
        list: true,
        faults: ['filters_exclusive', 'segment_not_found'],
        query: z.strictObject({ ...page, email: z.string().min(1).max(254).optional(), userId: z.string().min(1).max(255).optional(), segment: Id.optional() }),
        answer: listOf(PersonRecord),
        handle: async ({ query: { after, limit, ...filter }, principal, call }) => {
          const rows = await people.list({ before: after, limit: limit + 1, seen: principal!.lastWrite, ...filter }, call);
          return { body: pageOf(rows, limit, (last) => people.cursorOf(last, filter)) };
        },
      }),
      route({
        id: 'getPerson',
        method: 'GET',
        path: '/people/{personId}',
        tag,
        summary: 'One person. The id of somebody who was merged answers whom she went up in.',
        access: 'read',
        params,
        answer: PersonRecord,
        ifMatch: true,
        faults: ['person_not_found'],
        handle: async ({ params: { personId }, call }) => {
          const found = await people.get(personId, call);
          return { body: found, etag: found.version };
        },
      }),
      route({
        id: 'listPersonEvents',
        method: 'GET',
        path: '/people/{personId}/events',
        tag,
        summary: 'What the person has done, newest first.',
        access: 'read',
        list: true,
        params,
        query: z.strictObject(page),
        answer: listOf(RecordedEvent),
        faults: ['person_not_found'],
        handle: async ({ params: { personId }, query: { after, limit }, principal, call }) => {
          const before = after === undefined ? undefined : (JSON.parse(after) as TimelineCursor);
          const rows = await this.#timeline.list(personId, { before, limit: limit + 1, seen: principal!.lastWrite }, call);
          return { body: pageOf(rows, limit, (last) => JSON.stringify({ time: last.time, id: last.eventId } satisfies TimelineCursor)) };
        },
      }),
      route({
        id: 'listEvents',
        method: 'GET',
        path: '/events',
        tag,
        summary: 'What has arrived lately, of everybody, newest first.',
        access: 'read',
        list: true,
        query: z.strictObject(page),
        answer: listOf(z.object({ ...RecordedEvent.shape, personId: z.string() })),
        handle: async ({ query: { after, limit }, principal, call }) => {
          const rows = await this.#timeline.recent({ before: after, limit: limit + 1, seen: principal!.lastWrite }, call);
          return { body: pageOf(rows, limit, (last) => last.eventId) };
        },
      }),
      route({
        id: 'listIngestProblems',
        method: 'GET',
        path: '/ingest/problems',
        tag,
        summary: 'What of the events sent lately was refused and why, newest first: the last thousand.',
        access: 'read',
        list: true,
        query: z.strictObject(page),
        answer: listOf(Problem),
        handle: async ({ query: { after, limit }, principal, call }) => {
          const rows = await this.#problems.list(call.requireWorkspace(), { before: after, limit: limit + 1, seen: principal!.lastWrite });
          return { body: pageOf(rows, limit, (last) => last.problemId) };
        },
      }),
    ];
  }

  #changing(): AnyRoute[] {
    const people = this.#people;
    const tag = 'People';
    const params = z.strictObject({ personId: Id });
    return [
      route({
        id: 'createPerson',
        method: 'POST',
        path: '/people',
        tag,
        summary: 'Make a person. Events with the same userId are hers.',
        access: 'write',
        body: z.strictObject({ ...Details, userId: z.string().min(1).max(255).nullable().optional(), consent: ConsentState.optional() }),
        answer: PersonRecord,
        status: 201,
        ifMatch: true,
        maxBodyBytes: MAX_BODY_BYTES,
        faults: ['user_id_taken', 'person_invalid'],
        handle: async ({ body, call }) => {
          const made = await people.create(body, call);
          return { body: made, etag: made.version, location: `/people/${made.personId}`, targetId: made.personId };
        },
      }),
      route({
        id: 'updatePerson',
        method: 'PATCH',
        path: '/people/{personId}',
        tag,
        summary: 'Change what is given. Attributes are merged in; one that is null is deleted.',
        access: 'write',
        params,
        body: z.strictObject(Details),
        answer: PersonRecord,
        ifMatch: true,
        maxBodyBytes: MAX_BODY_BYTES,
        faults: ['person_not_found', 'person_invalid', 'version_changed'],
        handle: async ({ params: { personId }, body, ifMatch, call }) => {
          const changed = await people.update(personId, { ...body, ifVersion: ifMatch }, call);
          return { body: changed, etag: changed.version };
        },
      }),
      route({
        id: 'setConsent',
        method: 'PUT',
        path: '/people/{personId}/consent',
        tag,
        summary: 'What is known of the person\'s wish: overrides everything that was said before.',
        access: 'write',
        params,
        body: z.strictObject({ email: ConsentState }),
        answer: PersonRecord,
        faults: ['person_not_found'],
        handle: async ({ params: { personId }, body, call }) => ({ body: await people.setConsent(personId, body.email, 'api', call) }),
      }),
      route({
        id: 'deletePerson',
        method: 'DELETE',
        path: '/people/{personId}',
        tag,
        summary: 'Delete what is known of the person, for good; soon after, her deliveries no longer tell the address and the outbox no longer holds her mails. What she opted out of stays suppressed.',
        access: 'write',
        params,
        answer: Empty,
        faults: ['person_not_found'],
        handle: async ({ params: { personId }, call }) => {
          await people.remove(personId, call);
          return { body: {} };
        },
      }),
    ];
  }
}
