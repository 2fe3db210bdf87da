import { z } from 'zod';
import { IngestSettings } from './ingest/settings.ts';

/** `modules.portal` of the configuration. */
export const PortalSettings = z.strictObject({
  /**
   * How many proxies of ours stand in front, each appending to X-Forwarded-For. 0: clients connect directly, and the
   * header is not believed. Logins are throttled, and the audit log is written, by the address found this way.
   */
  trustedProxies: z.int().min(0).max(5).default(0),
  /** How long the file of an export can be fetched, hours; then it is deleted. */
  exportHours: z.int().min(1).max(720).default(48),
  /** How long the outcome of an import can be looked at, hours; its file goes as soon as it is read. */
  importHours: z.int().min(1).max(720).default(48),
  /** Of the file of an import. */
  importMaxBytes: z.int().min(1).max(1_073_741_824).default(268_435_456),
  ingest: IngestSettings.prefault({}),
});
export type PortalSettings = z.infer<typeof PortalSettings>;
