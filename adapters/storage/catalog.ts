import { postgres } from './postgres/driver.ts';
import { sqlite } from './sqlite/driver.ts';

/** The storage drivers, by the name that the configuration uses. */
export const storageDrivers = { sqlite, postgres } as const;
