import { blobDrivers } from '../../adapters/blob/catalog.ts';
import { busDrivers } from '../../adapters/bus/catalog.ts';
import { channelDrivers } from '../../adapters/channel/catalog.ts';
import { sharedCacheDrivers } from '../../adapters/cache/catalog.ts';
import { registryDrivers } from '../../adapters/registry/catalog.ts';
import { storageDrivers } from '../../adapters/storage/catalog.ts';
import { notificationModule } from '../../modules/notification/module.ts';
import { portalModule } from '../../modules/portal/module.ts';
import { triggerModule } from '../../modules/trigger/module.ts';
import type { Parts } from './config/parts.ts';

/** Everything that this build has: a module or a catalog is one line here. */
export const parts: Parts = {
  modules: [portalModule, triggerModule, notificationModule],
  storage: storageDrivers,
  bus: busDrivers,
  channel: channelDrivers,
  blob: blobDrivers,
  registry: registryDrivers,
  cache: sharedCacheDrivers,
};
