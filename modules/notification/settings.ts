import { z } from 'zod';
import { parseAddress } from './compose/address.ts';

const Sender = z.strictObject({
  name: z.string().max(200),
  email: z.string().max(254).refine((email) => parseAddress(email) !== null, 'must be an address such as hello@agency.example'),
});

/** `modules.notification` in the configuration. */
export const NotificationSettings = z.strictObject({
  /** Who mails come from when a template names nobody. */
  sender: Sender.default({ name: 'Multilith', email: 'multilith@localhost' }),
  /** Tries of one message that the other side put off, before it counts as failed. */
  tries: z.int().min(1).max(100).default(30),
  /** The wait after the first such try; it doubles with each, up to `retryMostMs`. */
  retryFirstMs: z.int().min(10).default(30_000),
  retryMostMs: z.int().min(10).default(4 * 3_600_000),
  /** A message older than this is given up at its next failure. */
  giveUpAfterMs: z.int().min(1_000).default(72 * 3_600_000),
  /**
   * When nobody knows whether a message arrived: `repeat` sends it once more with the same Message-ID, so that it
   * arrives at least once; `hold` leaves it, so that it arrives at most once. Either way it is shown.
   */
  onUncertain: z.enum(['repeat', 'hold']).default('repeat'),
  /** One rendering may take this long, twice, before it is stopped for good. */
  templateTimeoutMs: z.int().min(100).max(60_000).default(2_000),
  /** Render threads are let go after so long without work. */
  rendererIdleMs: z.int().min(100).default(30_000),
  /** The most that a start waits for templates that were in use, so that the first mails find them; 0 waits for none. */
  warmUpMs: z.int().min(0).max(60_000).default(2_000),
});
export type NotificationSettings = z.infer<typeof NotificationSettings>;
