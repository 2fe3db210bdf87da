import { z } from 'zod';

/** `modules.portal.ingest` of the configuration. */
export const IngestSettings = z.strictObject({
  /** Bytes of all requests under way, as read and as unpacked; a request beyond is answered 429. */
  maxInFlightBytes: z.int().min(1_000_000).max(1_073_741_824).default(33_554_432),
  /** A request must be read, and its events on disk, within this time; else 408 or 503, ms. */
  requestTimeoutMs: z.int().min(100).max(60_000).default(10_000),
  /** How long a messageId is remembered, so that a repeat has no second effect, days. */
  messageIdDays: z.int().min(1).max(365).default(30),
});
export type IngestSettings = z.infer<typeof IngestSettings>;
