import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { FORMATS } from '../../exports/export-text.ts';
import { Exports, Format, What } from '../../exports/exports.ts';
import { fileAnswer } from '../file-answer.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { Empty, Id } from './shapes.ts';

const ExportRecord = z.object({
  exportId: z.string(),
  what: What,
  format: Format,
  /** Of people, the segment that they belong to; null for everybody. */
  segment: z.string().nullable(),
  state: z.enum(['running', 'done', 'failed']),
  /** Why it has failed. */
  reason: z.string().nullable(),
  rows: z.int().nullable(),
  bytes: z.int().nullable(),
  createdAt: z.int(),
  expiresAt: z.int(),
});
const tag = 'Exports';
const params = z.strictObject({ exportId: Id });

/** Everything of one kind in a workspace as a file. */
@injectable()
export class ExportRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];

  constructor(@inject(Exports) exports: Exports) {
    this.routes = [
      route({
        id: 'createExport',
        method: 'POST',
        path: '/exports',
        tag,
        summary: 'Asks for a file with all people or all events of the workspace, or the people of a `segment`, once all of them have been found. It is written in the background; `state` says when it is done.',
        access: 'read',
        body: z.strictObject({ what: What, format: Format.default('csv'), segment: Id.optional() }),
        answer: ExportRecord,
        status: 202,
        faults: ['too_many_exports', 'segment_not_found', 'segment_of_people'],
        handle: async ({ body, call }) => {
          const made = await exports.begin(body, call);
          return { body: made, location: `/exports/${made.exportId}`, targetId: made.exportId };
        },
      }),
      route({
        id: 'listExports',
        method: 'GET',
        path: '/exports',
        tag,
        summary: 'The exports of the workspace that have not expired, newest first; 50 at most.',
        access: 'read',
        answer: z.object({ items: z.array(ExportRecord) }),
        handle: async ({ call }) => ({ body: { items: await exports.list(call) } }),
      }),
      route({
        id: 'getExport',
        method: 'GET',
        path: '/exports/{exportId}',
        tag,
        summary: 'How one export stands.',
        access: 'read',
        params,
        answer: ExportRecord,
        faults: ['export_not_found'],
        handle: async ({ params: { exportId }, call }) => ({ body: await exports.get(exportId, call) }),
      }),
      route({
        id: 'getExportContent',
        method: 'GET',
        path: '/exports/{exportId}/content',
        tag,
        summary: 'The file, as text/csv or application/x-ndjson.',
        access: 'read',
        stream: 'application/octet-stream',
        audited: true,
        params,
        query: z.strictObject({ workspace: Id.optional() }),
        answer: z.string(),
        faults: ['export_not_found', 'export_not_done'],
        handle: async ({ params: { exportId }, call }) => {
          const of = await exports.get(exportId, call);
          const { type } = FORMATS[of.format];
          return { body: '', stream: await fileAnswer({ type, name: `${of.what}.${of.format}`, bytes: of.bytes, content: (signal) => exports.content(of, call, signal) }) };
        },
      }),
      route({
        id: 'deleteExport',
        method: 'DELETE',
        path: '/exports/{exportId}',
        tag,
        summary: 'Deletes an export and its file.',
        access: 'write',
        params,
        answer: Empty,
        faults: ['export_not_found'],
        handle: async ({ params: { exportId }, call }) => {
          await exports.remove(exportId, call);
          return { body: {} };
        },
      }),
    ];
  }
}
