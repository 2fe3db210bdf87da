import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { SegmentCondition, Segments } from '../../segments/segments.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { Empty, Id } from './shapes.ts';

const SegmentRecord = z.object({
  segmentId: z.string(),
  name: z.string(),
  condition: SegmentCondition,
  version: z.int().positive(),
  /** `filling` until everybody has been looked at since the condition was last changed. */
  state: z.enum(['filling', 'ready']),
  /** So many have been. */
  lookedAt: z.int(),
  /** How many belong to it. */
  people: z.int(),
  createdAt: z.int(),
  updatedAt: z.int(),
});
const tag = 'Segments';
const params = z.strictObject({ segmentId: Id });
const body = z.strictObject({ name: z.string().trim().min(1).max(200), condition: SegmentCondition });

/** People of whom a condition holds. */
@injectable()
export class SegmentRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];

  constructor(@inject(Segments) segments: Segments) {
    this.routes = [
      route({
        id: 'listSegments',
        method: 'GET',
        path: '/segments',
        tag,
        summary: 'The segments of the workspace by name, 100 at most, each with how many people belong to it.',
        access: 'read',
        answer: z.object({ items: z.array(SegmentRecord) }),
        handle: async ({ call }) => ({ body: { items: await segments.list(call) } }),
      }),
      route({
        id: 'createSegment',
        method: 'POST',
        path: '/segments',
        tag,
        summary: 'Make a segment: the people of whom the condition holds, kept up to date. They are found in the background; `state` says when everybody has been looked at.',
        access: 'write',
        body,
        answer: SegmentRecord,
        status: 201,
        ifMatch: true,
        faults: ['condition_invalid', 'too_many_segments', 'segments_too_costly'],
        handle: async ({ body: wanted, call }) => {
          const made = await segments.create(wanted, call);
          return { body: made, etag: made.version, location: `/segments/${made.segmentId}`, targetId: made.segmentId };
        },
      }),
      route({
        id: 'getSegment',
        method: 'GET',
        path: '/segments/{segmentId}',
        tag,
        summary: 'One segment. Its people: `/people?segment=`.',
        access: 'read',
        params,
        answer: SegmentRecord,
        ifMatch: true,
        faults: ['segment_not_found'],
        handle: async ({ params: { segmentId }, call }) => {
          const found = await segments.get(segmentId, call);
          return { body: found, etag: found.version };
        },
      }),
      route({
        id: 'saveSegment',
        method: 'PUT',
        path: '/segments/{segmentId}',
        tag,
        summary: 'Replace name and condition. With another condition everybody is looked at anew in the background.',
        access: 'write',
        params,
        body,
        answer: SegmentRecord,
        ifMatch: true,
        faults: ['segment_not_found', 'condition_invalid', 'version_changed', 'segments_too_costly'],
        handle: async ({ params: { segmentId }, body: wanted, ifMatch, call }) => {
          const saved = await segments.save(segmentId, { ...wanted, ifVersion: ifMatch }, call);
          return { body: saved, etag: saved.version };
        },
      }),
      route({
        id: 'deleteSegment',
        method: 'DELETE',
        path: '/segments/{segmentId}',
        tag,
        summary: 'Delete a segment. Its people stay.',
        access: 'write',
        params,
        answer: Empty,
        faults: ['segment_not_found'],
        handle: async ({ params: { segmentId }, call }) => {
          await segments.remove(segmentId, call);
          return { body: {} };
        },
      }),
    ];
  }
}
