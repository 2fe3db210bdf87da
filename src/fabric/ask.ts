import { type Call, deadlineFault } from '../kernel/call.ts';
import { deadlines } from '../kernel/deadline.ts';
import type { Link } from '../ports/transport.ts';

/** What is asked: an operation of a contract, with its time. */
export interface Question {
  readonly contract: string;
  readonly method: string;
  readonly request: unknown;
  readonly timeoutMs: number;
}

/**
 * One call to one certain process, once and with no other in its place: for what each process answers for itself.
 * Faults: those of the callee; `unavailable`/`not_connected` at once when there is no connection; `deadline`.
 */
export function ask(link: Link, { contract, method, request, timeoutMs }: Question, call: Call): Promise<unknown> {
  const { id, workspace, actor, trace, idempotencyKey } = call;
  const deadline = Math.min(call.deadline, Date.now() + timeoutMs);
  return new Promise((resolve, reject) => {
    const late = { slot: 0, index: -1, expire: () => giveUp() };
    deadlines.add(late, deadline);
    const takeBack = link.send(
      { contract, method, request, id, workspace, actor, trace, idempotencyKey, deadline },
      {
        succeed: (value) => {
          deadlines.remove(late);
          resolve(value);
        },
        fail: (fault) => {
          deadlines.remove(late);
          reject(fault);
        },
      },
    );
    const giveUp = () => {
      takeBack();
      reject(deadlineFault());
    };
  });
}
