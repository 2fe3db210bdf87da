import { http } from './http/transport.ts';
import { rpc } from './rpc/transport.ts';

/** The transports over streams, by the name that the configuration uses. */
export const streamTransports = { rpc, http } as const;
