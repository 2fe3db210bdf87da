import { systemClock } from '../../kernel/clock.ts';
import type { Driver, DriverContext } from '../../kernel/driver.ts';
import type { ModuleDefinition } from '../../kernel/module.ts';
import type { Log, Metrics } from '../../kernel/telemetry.ts';
import type { Blobs } from '../../ports/blob.ts';
import type { Bus, BusWire, QueueSettings } from '../../ports/bus.ts';
import type { SharedCache } from '../../ports/cache.ts';
import type { Channel } from '../../ports/channel.ts';
import type { Registry } from '../../ports/registry.ts';
import type { Storage } from '../../ports/storage.ts';

/** A driver that the configuration chose, with its settings parsed. */
export interface Chosen {
  readonly driver: string;
  readonly settings: unknown;
}

/** Drivers by name. Settings and needs differ from one to the next; the driver's own schema has checked them. */
export type Catalog<Port> = Readonly<Record<string, Driver<any, Port, any>>>;

/** What a bus that programs of other languages reach says of them. */
export interface ForPrograms {
  wire(settings: any): BusWire;
  /** Queues for them by the names that they have in the settings: all but what is personal in their events. */
  workers(settings: any): Readonly<Record<string, Omit<QueueSettings, 'personal'>>>;
}
export type BusCatalog = Readonly<Record<string, Driver<any, Bus, any> & Partial<ForPrograms>>>;

/** What there is to configure. */
export interface Parts {
  readonly modules: readonly ModuleDefinition[];
  readonly storage: Catalog<Storage>;
  readonly bus: BusCatalog;
  readonly channel: Catalog<Channel>;
  readonly blob: Catalog<Blobs>;
  readonly registry: Catalog<Registry>;
  /** The second tier. */
  readonly cache: Catalog<SharedCache>;
  /** The file that a thread with one module runs; it must know the same parts. Left out: that of the product. */
  readonly thread?: URL;
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const unmeasured: Metrics = { counter: () => ({ add() {} }), histogram: () => ({ observe() {} }), gauge() {} };

/** For asking a driver what it can do, or whether the other side can be reached, without running a host. */
export function probe(dataDir: string): DriverContext & { readonly name: string } {
  return { clock: systemClock, log: silent, metrics: unmeasured, dataDir, name: 'probe' };
}
