import { z } from 'zod';
import { AnyJson } from '../../../src/kernel/json-schema.ts';
import { job } from '../../../src/kernel/message.ts';
import { CALL_TYPES } from './wire-item.ts';

/** An item, or a whole request (`index` null), that was refused. */
export const Refused = z.object({
  index: z.int().nullable(),
  messageId: z.string().nullable(),
  type: z.string().nullable(),
  reason: z.string(),
});
export type Refused = z.infer<typeof Refused>;

export const IngestBatch = z.object({
  receivedAt: z.int(),
  /** The API key that it came with. */
  keyId: z.string(),
  /** What the items are; null when they say it themselves. */
  type: z.enum(CALL_TYPES).nullable(),
  /** The request's body as it came, without the write key. Unknown fields may stand beside these. */
  batch: z.object({ batch: z.array(AnyJson), sentAt: AnyJson.optional() }),
  refused: z.array(Refused),
});
export type IngestBatch = z.infer<typeof IngestBatch>;

/** Checked items on their way from the request to the database. Portal's own. */
export const ingestBatch = job('portal.ingest-batch', IngestBatch, { personal: ['batch'] });
