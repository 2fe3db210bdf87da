import type { MessageDefinition } from '../kernel/message.ts';

/** A module's own error queues, for what must not stay in them: data of persons that are to be forgotten. */
export interface DeadLetters {
  /**
   * Deletes for good, of a workspace's messages in the error queue, those whose payload `concerns` says yes to, and
   * answers how many. Looks through all of them, page by page; personal fields of the payload are redacted. Repeating
   * it does no harm. Faults: those of the bus.
   */
  purge<P>(message: MessageDefinition<P>, workspace: string, concerns: (payload: Partial<P>) => boolean): Promise<number>;
}
export const DeadLetters = Symbol.for('multilith.DeadLetters');
