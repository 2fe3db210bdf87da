import type { DriverContext } from '../../kernel/driver.ts';
import type { Bus } from '../../ports/bus.ts';
import type { Channel } from '../../ports/channel.ts';
import type { Storage } from '../../ports/storage.ts';
import type { Chosen, Parts } from '../config/parts.ts';

/** The bus that the configuration chose. */
export function createBus({ driver, settings }: Chosen, parts: Parts, context: DriverContext): Bus {
  return parts.bus[driver]!.create(settings, { ...context, openStorage: ownStorage(parts, context) });
}

/** A channel that the configuration chose, by the name that it has there. */
export function createChannel(name: string, { driver, settings }: Chosen, parts: Parts, context: DriverContext): Channel {
  return parts.channel[driver]!.create(settings, { ...context, name, openStorage: ownStorage(parts, context) });
}

/**
 * What an embedded driver keeps lies in a database of its own on this host, and survives power loss whatever the
 * modules chose for theirs.
 */
function ownStorage(parts: Parts, context: DriverContext): (name: string) => Storage {
  const sqlite = parts.storage.sqlite!;
  return (name) => sqlite.create(sqlite.settings.parse({}), { ...context, name });
}
