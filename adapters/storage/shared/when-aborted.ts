import { Fault } from '../../../src/kernel/fault.ts';

/** A signal that ends a long read. */
export interface Aborted {
  /** What `work` answers, or the scan's end when the signal says so first. One at a time. */
  race<T>(work: T | PromiseLike<T>): Promise<T>;
  /** To be called when the read is over. */
  forget(): void;
}

/**
 * Calls `cut` when the signal says so: also while nobody waits. Promise.race with one promise for the whole of a read would keep
 * every batch until its end, since each race stays registered with it.
 */
export function whenAborted(signal: AbortSignal, cut: () => void = () => {}): Aborted {
  let isCut = false;
  let end: ((fault: Fault) => void) | undefined;
  const listener = () => {
    if (isCut) return;
    isCut = true;
    cut();
    end?.(scanEnded(signal));
  };
  signal.addEventListener('abort', listener, { once: true });
  if (signal.aborted) listener();
  return {
    race: <T>(work: T | PromiseLike<T>) =>
      new Promise<T>((resolve, reject) => {
        end = reject;
        Promise.resolve(work).then(resolve, reject);
        if (isCut) reject(scanEnded(signal));
      }),
    forget: () => signal.removeEventListener('abort', listener),
  };
}

/** Who ended it: the storage, with its own fault, or the reader. */
export function scanEnded({ reason }: AbortSignal): Fault {
  return Fault.is(reason) ? reason : new Fault('cancelled', 'The reader cancelled the scan.', { reason: 'cancelled' });
}
