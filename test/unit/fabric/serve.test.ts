import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import type { Call } from '../../../src/kernel/call.ts';
import { newTrace } from '../../../src/kernel/call.ts';
import { deadlines } from '../../../src/kernel/deadline.ts';
import { contract, query } from '../../../src/kernel/contract.ts';
import { Fault, type FaultRecord } from '../../../src/kernel/fault.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import type { ArrivedCall } from '../../../src/ports/transport.ts';
import { offerOf, Serving } from '../../../src/fabric/serve.ts';
import { Target } from '../../../src/fabric/target.ts';

interface Desk {
  ask(request: { n: number }, call: Call): Promise<{ n: number }>;
}
const N = z.object({ n: z.int() });
const desk = contract<Desk>('desk', { ask: query({ input: N, output: N, timeoutMs: 1_000, faults: ['closed'] }) });

function servingWith(ask: Desk['ask']): { serving: Serving; target: Target; logged: { operation: string; callId: string; err: Error }[] } {
  const logged: { operation: string; callId: string; err: Error }[] = [];
  const log: Log = { debug() {}, info() {}, warn() {}, error: (fields) => void logged.push(fields as never), child: () => log };
  const target = new Target(desk);
  target.serve({ ask });
  return { serving: new Serving([target], log), target, logged };
}

function arrived(change: Partial<ArrivedCall> = {}): ArrivedCall {
  return { contract: 'desk', method: 'ask', request: { n: 1 }, id: 'call-1', workspace: 'w1', actor: { kind: 'user', id: 'u1' }, trace: newTrace(), idempotencyKey: undefined, deadline: Date.now() + 10_000, signal: new AbortController().signal, ...change };
}

async function faultOf(answer: ReturnType<Serving['dispatch']>): Promise<FaultRecord> {
  const outcome = await answer;
  assert.ok('fault' in outcome, JSON.stringify(outcome));
  return outcome.fault;
}

/** How the callee hears that its caller let go, so long before the deadline. */
async function heard(leftMs: number): Promise<string> {
  const { serving } = servingWith((_request, call) => new Promise((_, reject) => call.signal.addEventListener('abort', () => reject(call.signal.reason as Error))));
  const caller = new AbortController();
  const answer = faultOf(serving.dispatch(arrived({ deadline: Date.now() + leftMs, signal: caller.signal })));
  caller.abort(new Fault('cancelled', 'The caller cancelled the call, or is gone.', { origin: 'lost' }));
  return (await answer).code;
}

test('a caller that lets go is heard as cancelling, and as at its deadline when that is now', async () => {
  assert.equal(await heard(5_000), 'cancelled');
  assert.equal(await heard(20), 'deadline');
});

test('a signal that was aborted before somebody asked for it is aborted', async () => {
  const { serving } = servingWith(async (_request, call) => {
    call.signal.throwIfAborted();
    return { n: 1 };
  });
  assert.equal((await faultOf(serving.dispatch(arrived({ signal: AbortSignal.abort(new Fault('cancelled', 'Gone.')) })))).code, 'cancelled');
});

test('a call that arrives after its deadline is not run, and surely so', async () => {
  let runs = 0;
  const { serving } = servingWith(async () => ({ n: ++runs }));
  const { code, origin } = await faultOf(serving.dispatch(arrived({ deadline: Date.now() - 1 })));
  assert.deepEqual([code, origin, runs], ['deadline', 'unsent', 0]);
});

test('what is not served is named, and what is', async () => {
  const { serving, target } = servingWith(async () => ({ n: 1 }));
  assert.match((await faultOf(serving.dispatch(arrived({ contract: 'shop' })))).message, /contract shop.*desk/);
  for (const method of ['tell', 'constructor', '__proto__', 'toString']) assert.equal((await faultOf(serving.dispatch(arrived({ method })))).code, 'not_found', method);
  target.withdraw();
  const { code, reason, origin } = await faultOf(serving.dispatch(arrived()));
  assert.deepEqual([code, reason, origin], ['unavailable', 'not_running', 'unsent']);
});

test('a request that does not fit is refused by field, and its values are not told', async () => {
  const { serving } = servingWith(async () => ({ n: 1 }));
  for (const request of [undefined, null, [], 'secret', { n: 'secret' }, {}]) {
    const fault = await faultOf(serving.dispatch(arrived({ request })));
    assert.deepEqual([fault.code, fault.origin], ['invalid', 'reply']);
    assert.doesNotMatch(JSON.stringify(fault), /secret/);
  }
});

test('an answer or a reason that the contract does not allow is a defect of the callee: internal, and in its log', async () => {
  const defects: Record<string, Desk['ask']> = {
    'an answer': async () => ({ n: 'one' as unknown as number }),
    'a reason': async () => {
      throw new Fault('conflict', 'Never heard of.', { reason: 'made_up' });
    },
  };
  for (const [what, ask] of Object.entries(defects)) {
    const { serving, logged } = servingWith(ask);
    const { code, origin } = await faultOf(serving.dispatch(arrived()));
    assert.deepEqual([code, origin], ['internal', 'reply'], what);
    assert.deepEqual(logged.map(({ operation, callId }) => [operation, callId]), [['desk.ask', 'call-1']], what);
  }
});

test('faults that the contract declares, and those of the platform, cross as they are', async () => {
  for (const fault of [
    new Fault('conflict', 'Closed.', { reason: 'closed', details: { since: 1 } }),
    new Fault('unavailable', 'The disk did not confirm.', { reason: 'storage', origin: 'lost' }),
    new Fault('exhausted', 'The disk is full.', { reason: 'disk_full' }),
    new Fault('conflict', 'Repeated.', { reason: 'repeated' }),
  ]) {
    const { serving } = servingWith(async () => Promise.reject(fault));
    assert.deepEqual(await faultOf(serving.dispatch(arrived())), fault.toRecord());
  }
  const { serving } = servingWith(async () => Promise.reject(new Fault('conflict', 'Nobody knows.', { reason: 'made_up', origin: 'lost' })));
  assert.deepEqual([(await faultOf(serving.dispatch(arrived()))).code, (await faultOf(serving.dispatch(arrived()))).origin], ['internal', 'lost']);
});

test('a contract is offered with its hash and the schemas of its operations', () => {
  const offer = offerOf(desk);
  assert.deepEqual([offer.name, offer.hash, Object.keys(offer.operations)], ['desk', desk.hash, ['ask']]);
});

test('a callee that has asked for the signal leaves no deadline behind once it has answered', async () => {
  const { serving } = servingWith(async ({ n }, call) => {
    assert.equal(call.signal.aborted, false);
    assert.equal(deadlines.size, 1);
    if (n === 2) throw new Error('broken');
    return { n };
  });
  for (const n of [1, 2]) {
    await serving.dispatch(arrived({ request: { n } }));
    assert.equal(deadlines.size, 0);
  }
});
