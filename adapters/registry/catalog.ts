import { staticList } from './static/driver.ts';
import { zookeeper } from './zookeeper/driver.ts';

/** The registry drivers, by the name that the configuration uses. */
export const registryDrivers = { static: staticList, zookeeper } as const;
