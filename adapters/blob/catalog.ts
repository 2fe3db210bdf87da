import { fs } from './fs/driver.ts';
import { s3 } from './s3/driver.ts';

/** The blob drivers, by the name that the configuration uses. */
export const blobDrivers = { fs, s3 } as const;
