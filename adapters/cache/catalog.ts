import { lru } from './lru/driver.ts';
import { memcached } from './memcached/driver.ts';
import { redis } from './redis/driver.ts';

/** The drivers of the tier within a process, by the name that the configuration uses. */
export const localCacheDrivers = { lru } as const;

/** The drivers of the tier that hosts share, by the name that the configuration uses. */
export const sharedCacheDrivers = { memcached, redis } as const;
