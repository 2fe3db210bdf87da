import { sqlite } from './sqlite/driver.ts';

/** The storage drivers, by the name that the configuration uses. */
export const storageDrivers = { sqlite } as const;
