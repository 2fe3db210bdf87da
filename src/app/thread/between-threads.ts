import type { RpcSettings } from '../../../adapters/transport/rpc/settings.ts';

/**
 * How rpc behaves between threads of a process. A thread that is busy is not gone, and one that is gone is noticed by
 * its end: silence ends no connection. One that was lost is made again at once.
 */
export const BETWEEN_THREADS: Partial<RpcSettings> = { beatMs: 10_000, silentBeats: Infinity, handshakeMs: 60_000, firstPauseMs: 20, mostPauseMs: 200 };
