import type { Duplex } from 'node:stream';
import type { Bus } from './bus.ts';

/** A bus of this process as others use it. */
export interface ServedBus {
  /** Takes a stream to another process; its end is that of what was consumed over it. */
  accept(stream: Duplex): void;
  /** Hands out nothing more, waits for what is under way elsewhere, then gives the rest back. Before the bus stops. */
  stop(deadlineMs: number): Promise<void>;
}

/** For a driver whose messages one of several processes keeps: how the others use them over streams of the driver's own. */
export interface BusSharing {
  serve(bus: Bus): Promise<ServedBus>;
  /** The bus at the other end. `connect` answers a new stream there; one that is destroyed when there is no way now. */
  reach(connect: () => Duplex): Promise<Bus>;
}
