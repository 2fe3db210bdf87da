import { join, resolve } from 'node:path';
import type { DriverContext } from '../../kernel/driver.ts';
import type { Blobs } from '../../ports/blob.ts';
import type { Bus } from '../../ports/bus.ts';
import type { SharedCache } from '../../ports/cache.ts';
import type { Channel } from '../../ports/channel.ts';
import type { Registry, RegistryNeeds } from '../../ports/registry.ts';
import type { Storage } from '../../ports/storage.ts';
import type { Config } from '../config/config.ts';
import type { Chosen, Parts } from '../config/parts.ts';
import { busSharing } from './bus-sharing.ts';

/** Asked for a driver's own database when it is opened, which `make` does; answers it. */
export type OnOpen = (name: string, make: () => Storage) => Storage;
const justMake: OnOpen = (_, make) => make();

/** The bus that the configuration chose. */
export function createBus({ driver, settings }: Chosen, parts: Parts, context: DriverContext, onOpen = justMake): Bus {
  return parts.bus[driver]!.create(settings, { ...context, openStorage: ownStorage(parts, context, onOpen), sharing: busSharing(context) });
}

/** A channel that the configuration chose, by the name that it has there. */
export function createChannel(name: string, { driver, settings }: Chosen, parts: Parts, context: DriverContext, onOpen = justMake): Channel {
  return parts.channel[driver]!.create(settings, { ...context, name, openStorage: ownStorage(parts, context, onOpen) });
}

/** Where large files lie. */
export function createBlobs({ driver, settings }: Chosen, parts: Parts, context: DriverContext): Blobs {
  return parts.blob[driver]!.create(settings, context);
}

/** The database of a module, as the configuration chose it. */
export function createStorage(name: string, { driver, settings }: Chosen, parts: Parts, context: DriverContext): Storage {
  return parts.storage[driver]!.create(settings, { ...context, name });
}

/** What the hosts are found by. */
export function createRegistry({ driver, settings }: Chosen, parts: Parts, context: DriverContext & RegistryNeeds): Registry {
  return parts.registry[driver]!.create(settings, context);
}

/** A cache that hosts have in common, by the name that it has in the configuration. */
export function createSharedCache({ driver, settings }: Chosen, parts: Parts, context: DriverContext): SharedCache {
  return parts.cache[driver]!.create(settings, context);
}

/** Where the embedded bus keeps its messages. */
export function busDatabase({ dataDir, bus }: Pick<Config, 'dataDir' | 'bus'>): string {
  const { directory } = bus.settings as { readonly directory?: string };
  return ownDatabase(resolve(dataDir, directory ?? '.'), 'bus');
}

/** Where the database of an embedded driver or of a module lies that the sqlite driver keeps. */
export function ownDatabase(dataDir: string, name: string): string {
  return join(dataDir, `${name}.sqlite`);
}

/**
 * What an embedded driver keeps lies in a database of its own on this host, and survives power loss whatever the
 * modules chose for theirs.
 */
function ownStorage(parts: Parts, context: DriverContext, onOpen: OnOpen): (name: string, directory?: string) => Storage {
  const sqlite = parts.storage.sqlite!;
  return (name, directory = context.dataDir) => onOpen(name, () => sqlite.create(sqlite.settings.parse({}), { ...context, dataDir: directory, name }));
}
