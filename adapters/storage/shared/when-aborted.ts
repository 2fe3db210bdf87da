import { Fault } from '../../../src/kernel/fault.ts';

/** Rejects with the scan's end when the signal says so, having called `cut`: also while nobody waits. To be forgotten when the scan is over. */
export function whenAborted(signal: AbortSignal, cut: () => void = () => {}): { readonly promise: Promise<never>; forget(): void } {
  let listener: () => void;
  const promise = new Promise<never>((_, reject) => {
    listener = () => {
      cut();
      reject(scanEnded(signal));
    };
    signal.addEventListener('abort', listener, { once: true });
    if (signal.aborted) listener();
  });
  promise.catch(() => {});
  return { promise, forget: () => signal.removeEventListener('abort', listener) };
}

/** Who ended it: the storage, with its own fault, or the reader. */
export function scanEnded({ reason }: AbortSignal): Fault {
  return Fault.is(reason) ? reason : new Fault('cancelled', 'The reader cancelled the scan.', { reason: 'cancelled' });
}
