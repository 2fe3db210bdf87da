import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { FORMATS } from '../../exports/export-text.ts';
import { type Arrived, Imports } from '../../imports/imports.ts';
import { ImportFormat } from '../../imports/people-file.ts';
import { fileAnswer } from '../file-answer.ts';
import { UPLOAD_TIMEOUT_MS } from '../upload.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { Id } from './shapes.ts';

const ImportRecord = z.object({
  importId: z.string(),
  format: ImportFormat,
  state: z.enum(['arriving', 'running', 'done', 'failed']),
  /** Why it has failed. */
  reason: z.string().nullable(),
  bytes: z.int().nullable(),
  bytesRead: z.int(),
  rowsRead: z.int(),
  rowsAccepted: z.int(),
  rowsRefused: z.int(),
  createdAt: z.int(),
  /** Id of the user or key. */
  createdBy: z.string(),
  startedAt: z.int().nullable(),
  finishedAt: z.int().nullable(),
  expiresAt: z.int(),
});
const tag = 'Imports';
const params = z.strictObject({ importId: Id });

const FORMAT_OF: Readonly<Record<string, ImportFormat>> = { 'text/csv': 'csv', 'application/x-ndjson': 'ndjson', 'application/jsonl': 'ndjson' };

/** Files of people, read in the background. */
@injectable()
export class ImportRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];

  constructor(@inject(Imports) imports: Imports) {
    this.routes = [
      route({
        id: 'createImport',
        method: 'POST',
        path: '/imports',
        tag,
        summary: 'Takes a file of people, CSV or one JSON object a line. It is read in the background; `state` says when it is done.',
        access: 'write',
        timeoutMs: UPLOAD_TIMEOUT_MS,
        upload: {
          types: Object.keys(FORMAT_OF),
          async receive({ type, length, content }, call) {
            const arrived = await imports.receive(FORMAT_OF[type]!, content, length, call);
            return { body: arrived, digest: arrived.digest, discard: () => imports.discard(arrived, call) };
          },
        },
        body: z.custom<Arrived>(),
        answer: ImportRecord,
        status: 202,
        faults: ['too_many_imports', 'overloaded', 'disk_full', 'import_not_found'],
        handle: async ({ body, call }) => {
          const made = await imports.begin(body, call);
          return { body: made, location: `/imports/${made.importId}`, targetId: made.importId };
        },
      }),
      route({
        id: 'listImports',
        method: 'GET',
        path: '/imports',
        tag,
        summary: 'The imports of the workspace that have not expired, newest first; 50 at most.',
        access: 'read',
        answer: z.object({ items: z.array(ImportRecord) }),
        handle: async ({ call }) => ({ body: { items: await imports.list(call) } }),
      }),
      route({
        id: 'getImport',
        method: 'GET',
        path: '/imports/{importId}',
        tag,
        summary: 'How far one import is.',
        access: 'read',
        params,
        answer: ImportRecord,
        faults: ['import_not_found'],
        handle: async ({ params: { importId }, call }) => ({ body: await imports.get(importId, call) }),
      }),
      route({
        id: 'getImportRefusals',
        method: 'GET',
        path: '/imports/{importId}/refused',
        tag,
        summary: 'What was refused so far, as text/csv: line, column and reason; the first 10,000.',
        access: 'read',
        stream: 'text/csv',
        params,
        query: z.strictObject({ workspace: Id.optional() }),
        answer: z.string(),
        faults: ['import_not_found'],
        handle: async ({ params: { importId }, call }) => {
          const refusals = await imports.refusals(importId, call);
          return { body: '', stream: await fileAnswer({ type: FORMATS.csv.type, name: 'refused.csv', content: () => refusals }) };
        },
      }),
      route({
        id: 'deleteImport',
        method: 'DELETE',
        path: '/imports/{importId}',
        tag,
        summary: 'Calls an import off and forgets it. Whom it has taken stays; the answer says how far it was.',
        access: 'write',
        params,
        answer: ImportRecord,
        faults: ['import_not_found'],
        handle: async ({ params: { importId }, call }) => ({ body: await imports.remove(importId, call) }),
      }),
    ];
  }
}
