import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { Bus } from '../../../src/ports/bus.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { EmbeddedBus } from './embedded-bus.ts';

export const EmbeddedSettings = z.strictObject({
  /** Bytes of one message's payload as UTF-8; a larger one is refused with `invalid`. */
  maxMessageBytes: z.int().min(1_024).max(16_777_216).default(1_048_576),
  /** Messages in all queues and states together; beyond it publishing is refused with `exhausted` until some are handled. */
  maxBacklog: z.int().min(1).max(1_000_000_000).default(10_000_000),
  /** Publishing is refused with `exhausted` while the disk of its file has fewer bytes free; 0 leaves it to the disk. */
  minFreeBytes: z.int().min(0).default(134_217_728),
  /** The folder of its file, made when it is missing; a relative one counts from the data directory. Left out: the data directory itself. */
  directory: z.string().min(1).optional(),
});
export type EmbeddedSettings = z.infer<typeof EmbeddedSettings>;

/** Opens `<directory>/<name>.sqlite`. */
export type OpenStorage = (name: string, directory: string) => Storage;

/** The bus in one SQLite file of this host, `bus`; `openStorage` opens it, on a driver that survives power loss. */
export const embedded: Driver<EmbeddedSettings, Bus, { readonly openStorage: OpenStorage }> = {
  name: 'embedded',
  settings: EmbeddedSettings,
  create(settings, { openStorage, dataDir, clock, log, metrics }) {
    return new EmbeddedBus({ settings, openStorage, dataDir, clock, log: log.child({ bus: 'embedded' }), metrics });
  },
};
