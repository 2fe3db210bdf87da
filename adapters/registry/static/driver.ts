import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { Registry, RegistryNeeds } from '../../../src/ports/registry.ts';
import { StaticRegistry } from './static-registry.ts';

const StaticSettings = z.strictObject({});
type StaticSettings = z.infer<typeof StaticSettings>;

/** The hosts and addresses that the topology file names: no other service, and no news of who runs just now. */
export const staticList: Driver<StaticSettings, Registry, RegistryNeeds> = {
  name: 'static',
  settings: StaticSettings,
  create: (_settings, needs) => new StaticRegistry(needs, needs.log),
};
