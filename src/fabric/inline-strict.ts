import type { Call } from '../kernel/call.ts';
import type { Contract } from '../kernel/contract.ts';
import { toFault } from '../kernel/fault.ts';
import type { Log } from '../kernel/telemetry.ts';
import { codecOf } from './codec.ts';
import { bindInline } from './inline.ts';
import { Target } from './target.ts';

/**
 * Inline with a remote call's manners: requests, answers and faults go through the codec both ways, requests are
 * frozen. For tests and for those who suspect an alias; about 20 µs a call.
 */
export function bindInlineStrict<T>(target: Target, contract: Contract<T>, log: Log): T {
  const codecs = new Map(Object.entries(contract.operations).map(([method, descriptor]) => [method, codecOf(contract, method, descriptor)]));
  const behind = new Target(contract);
  behind.serve(
    Object.fromEntries(
      [...codecs].map(([method, codec]) => [
        method,
        async (requestText: unknown, call: Call) => {
          try {
            return codec.encodeAnswer(await target.implementation[method]!(codec.decodeRequest(requestText as string), call));
          } catch (thrown) {
            const fault = toFault(thrown);
            if (fault.cause !== undefined) log.error({ callId: call.id, operation: `${contract.name}.${method}`, err: fault.cause }, 'call failed');
            throw codec.decodeFault(codec.encodeFault(fault));
          }
        },
      ]),
    ),
  );
  const wire = bindInline(behind, contract, log) as Record<string, (request: unknown, call: Call) => Promise<unknown>>;
  return Object.freeze(
    Object.fromEntries(
      [...codecs].map(([method, codec]) => [
        method,
        async (request: unknown, call: Call) => codec.decodeAnswer((await wire[method]!(codec.encodeRequest(request), call)) as string),
      ]),
    ),
  ) as T;
}
