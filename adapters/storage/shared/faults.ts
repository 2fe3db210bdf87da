import { Fault } from '../../../src/kernel/fault.ts';

/** A write where only reads are taken. `cause` is for the log. */
export function writeOutsideTransaction(cause?: unknown): Fault {
  return new Fault('internal', 'A write outside a transaction: use `transaction`.', { reason: 'write_outside_transaction', ...(cause !== undefined && { cause }) });
}

/** Nothing was done: the storage is not there yet, or no more. */
export function stopped(message: string): Fault {
  return new Fault('unavailable', message, { reason: 'stopped', origin: 'unsent' });
}
