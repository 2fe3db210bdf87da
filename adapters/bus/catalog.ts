import { embedded } from './embedded/driver.ts';

/** The bus drivers, by the name that the configuration uses. */
export const busDrivers = { embedded } as const;
