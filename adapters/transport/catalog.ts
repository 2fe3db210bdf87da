import { http } from './http/transport.ts';

/** The transports over streams, by the name that the configuration uses. */
export const streamTransports = { http } as const;
