import { outbox } from './outbox/driver.ts';
import { smtp } from './smtp/driver.ts';

/** The channel drivers, by the name that the configuration uses. */
export const channelDrivers = { outbox, smtp } as const;
