import type { DriverContext } from '../../../src/kernel/driver.ts';
import type { Bus } from '../../../src/ports/bus.ts';
import type { Statement, Storage } from '../../../src/ports/storage.ts';

/** What the engine may hold. */
export interface Limits {
  readonly maxMessageBytes: number;
  readonly maxBacklog: number;
  readonly minFreeBytes: number;
}

/** A bus over one database. Whatever it writes there goes through `statements`, so that another process can write the same. */
export interface Engine {
  create(limits: Limits, context: DriverContext & { readonly openStorage: (name: string) => Storage }): Bus;
  /** By name; the names are part of what stands in the broker's log and never change their meaning. */
  readonly statements: Readonly<Record<string, Statement<any, any>>>;
  /**
   * Of those, what tells of messages that are there already: taken, handled, tried again. Nobody waits for the broker
   * to have it: should this host be lost in that moment, such a message is handled again.
   */
  readonly progress: ReadonlySet<string>;
  /** Of its database, in an order in which they can be filled; `keyedBy` is a number that only grows. */
  readonly tables: readonly { readonly name: string; readonly keyedBy: string }[];
}
