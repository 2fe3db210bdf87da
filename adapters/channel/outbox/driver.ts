import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { Channel } from '../../../src/ports/channel.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { OutboxChannel } from './outbox-channel.ts';

export const OutboxSettings = z.strictObject({
  /** Mails kept per workspace; the oldest go first. */
  keepMails: z.int().min(1).max(1_000_000).default(10_000),
});
export type OutboxSettings = z.infer<typeof OutboxSettings>;

export interface OutboxNeeds {
  /** The channel's own name, e.g. `email`. */
  readonly name: string;
  /** Opens a database of this host's by name; the channel starts and stops it. */
  openStorage(name: string): Storage;
}

/** Keeps mails in a database of its own, `<channel>-outbox`, where they can be read; nothing leaves the house. */
export const outbox: Driver<OutboxSettings, Channel, OutboxNeeds> = {
  name: 'outbox',
  settings: OutboxSettings,
  create: (settings, { name, openStorage, clock }) => new OutboxChannel(settings, () => openStorage(`${name}-outbox`), clock),
};
