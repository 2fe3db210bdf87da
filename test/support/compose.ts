import { blobDrivers } from '../../adapters/blob/catalog.ts';
import { busDrivers } from '../../adapters/bus/catalog.ts';
import { sqlite } from '../../adapters/storage/sqlite/driver.ts';
import type { Clock } from '../../src/kernel/clock.ts';
import type { ModuleDefinition } from '../../src/kernel/module.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import type { Blobs } from '../../src/ports/blob.ts';
import type { Bus, QueueSettings } from '../../src/ports/bus.ts';
import type { Channels } from '../../src/ports/channel.ts';
import type { Storage } from '../../src/ports/storage.ts';
import type { Placement } from '../../src/fabric/placements.ts';
import { type Composition, compose } from '../../src/app/container.ts';
import { testContext } from './context.ts';
import { moduleStorage } from './module-storage.ts';

export interface TestComposition extends Composition {
  readonly bus: Bus;
  readonly dataDir: string;
  /** Stops it and removes its data. */
  dispose(): Promise<void>;
}

export interface TestCompositionOptions {
  readonly modules: readonly ModuleDefinition[];
  /** Default `inline-strict`, so that every test of a module is one of its contract too. */
  readonly placement?: Placement;
  readonly clock?: Clock;
  readonly log?: Log;
  readonly channels?: Channels;
  readonly queuesElsewhere?: readonly QueueSettings[];
  /** That may wait for the bus, of each module. */
  readonly outboxBytes?: number;
  /** Unparsed sections of the configuration, by module. Default: each module's own defaults. */
  readonly settings?: Readonly<Record<string, object>>;
  /** Default: a folder in the data directory. Started and stopped with the composition. */
  readonly blobs?: Blobs;
  /** Default: of each module its own in the folder. */
  readonly openStorage?: (module: string) => Storage;
  /** To start again on what an earlier composition left; the caller removes it. */
  readonly dataDir?: string;
}

/** Modules wired as the product wires them, on a real database and the real embedded bus in a folder of their own. Not started yet. */
export function composeForTest(options: TestCompositionOptions): TestComposition {
  const context = testContext({ ...(options.clock && { clock: options.clock }), ...(options.log && { log: options.log }), ...(options.dataDir && { dataDir: options.dataDir }) });
  const openStorage = options.openStorage ?? ((name: string) => moduleStorage(context, name));
  const bus = busDrivers.embedded.create(busDrivers.embedded.settings.parse({}), { ...context, openStorage: (name) => sqlite.create(sqlite.settings.parse({}), { ...context, name }) });
  const blobs = options.blobs ?? blobDrivers.fs.create(blobDrivers.fs.settings.parse({}), context);
  const composition = compose({
    ...context,
    modules: options.modules,
    placementOf: () => options.placement ?? 'inline-strict',
    installation: { publicUrl: 'http://127.0.0.1:8080', secret: new Uint8Array(32).fill(7) },
    system: { status: async () => ({ hosts: [], unreachable: [] }) },
    openStorage,
    bus,
    outbox: { maxBytes: options.outboxBytes ?? 1_073_741_824 },
    queuesElsewhere: options.queuesElsewhere ?? [],
    channels: options.channels ?? new Map(),
    blobs,
    settings: Object.fromEntries(options.modules.map((m) => [m.name, m.settings.parse(options.settings?.[m.name] ?? {})])),
  });
  return {
    ...composition,
    get problems() {
      return composition.problems;
    },
    bus,
    dataDir: context.dataDir,
    async start() {
      await blobs.start();
      await composition.start();
    },
    async dispose() {
      await composition.stop(10_000);
      await blobs.stop(1_000);
      if (options.dataDir === undefined) context.remove();
    },
  };
}
