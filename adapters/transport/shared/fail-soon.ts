import type { Fault } from '../../../src/kernel/fault.ts';
import type { Reply } from '../../../src/ports/transport.ts';

/**
 * Fails a call that a link does not send: not within `send`, since whoever sends first wants to know how to cancel.
 * Answers what `send` does.
 */
export function failSoon(reply: Reply, fault: Fault): () => void {
  let isCancelled = false;
  queueMicrotask(() => {
    if (!isCancelled) reply.fail(fault);
  });
  return () => void (isCancelled = true);
}
