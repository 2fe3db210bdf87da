import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { Call, newTrace } from '../../src/kernel/call.ts';
import { deadlines } from '../../src/kernel/deadline.ts';
import { Fault, type FaultCode, FAULT_STATUS } from '../../src/kernel/fault.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import { type Placement, placements } from '../../src/fabric/placements.ts';
import { Target } from '../../src/fabric/target.ts';
import { type Subject, subject, SubjectService } from './subject.ts';

/** What every placement must do alike: a new placement is one more row of the table. */
for (const placement of Object.keys(placements) as Placement[]) describe(`a call, ${placement}`, () => contractSuite(placement));

function contractSuite(placement: Placement): void {
  const logged: object[] = [];
  const log: Log = { debug() {}, info() {}, warn() {}, error: (fields) => void logged.push(fields), child: () => log };
  const service = new SubjectService();
  const target = new Target(subject);
  const stub: Subject = placements[placement](target, subject, log);
  target.serve(service);
  const call = (over: Partial<ConstructorParameters<typeof Call>[0]> = {}): Call =>
    new Call({ workspace: 'w1', actor: { kind: 'user', id: 'u1' }, deadline: Date.now() + 10_000, ...over });
  const fault = async (promise: Promise<unknown>): Promise<Fault> => {
    const thrown = await promise.then(
      () => assert.fail('the call should have failed'),
      (e: unknown) => e,
    );
    assert.ok(Fault.is(thrown), `not a Fault: ${String(thrown)}`);
    return thrown;
  };
  afterEach(() => assert.equal(deadlines.size, 0, 'a deadline was left in the wheel'));

  it('carries any JSON value there and back, and twice is the same as once', async () => {
    const seed = Date.now();
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const json = JSON.parse(JSON.stringify(value)) as null;
        assert.deepEqual(await stub.echo({ value: json }, call()), { value: json });
        assert.deepEqual(await stub.echo({ value: json }, call()), { value: json });
      }),
      { seed, numRuns: 200 },
    );
  });

  it('tells the callee who calls, for which workspace, under which key and trace, and until when', async () => {
    const trace = newTrace();
    const seen = await stub.who({}, call({ idempotencyKey: 'k1', trace }));
    assert.deepEqual({ ...seen, leftMs: 0 }, { workspace: 'w1', actor: 'user:u1', key: 'k1', traceId: trace.traceId, leftMs: 0 });
    assert.ok(seen.leftMs > 4_000 && seen.leftMs <= 5_000, `the operation's own time-out is nearer than the call's: ${seen.leftMs}`);
  });

  for (const code of Object.keys(FAULT_STATUS) as FaultCode[]) {
    it(`carries a fault ${code} with its reason and details`, async () => {
      const { code: got, reason, details, origin } = await fault(stub.fail({ code, reason: 'declared_reason' }, call()));
      assert.deepEqual({ got, reason, details, origin }, { got: code, reason: 'declared_reason', details: { list: [1, 'two', null] }, origin: 'reply' });
    });
  }

  it('hides what an unexpected exception says and logs it at the callee, under the call id', async () => {
    logged.length = 0;
    const made = call();
    const { code, message, stack } = await fault(stub.crash({}, made));
    assert.equal(code, 'internal');
    assert.doesNotMatch(`${message}${placement === 'inline' ? '' : stack}`, /hunter2/);
    assert.equal((logged[0] as { callId: string }).callId, made.id);
  });

  it('gives up at the nearer of the two deadlines even when the callee never answers', async () => {
    const began = performance.now();
    const { code } = await fault(stub.wait({ ms: 30_000 }, call()));
    const tookMs = performance.now() - began;
    assert.equal(code, 'deadline');
    assert.ok(tookMs >= 195 && tookMs < 5_000, `${tookMs} ms`);
    assert.equal((await fault(stub.wait({ ms: 30_000 }, call({ deadline: Date.now() + 50 })))).code, 'deadline');
  });

  it('does not run a call whose deadline has passed', async () => {
    const before = service.entries.length;
    const { code, origin } = await fault(stub.append({ entry: 'late' }, call({ deadline: Date.now() - 1 })));
    assert.deepEqual([code, origin, service.entries.length], ['deadline', 'unsent', before]);
  });

  it('ends a call when its caller cancels, and tells the callee', async () => {
    const stop = new AbortController();
    const pending = stub.listen({ ms: 30_000 }, call({ signal: stop.signal, deadline: Date.now() + 10_000 }));
    setImmediate(() => stop.abort());
    assert.equal((await fault(pending)).code, 'cancelled');
    assert.equal((service.heard.at(-1) as Fault).code, 'cancelled');
    assert.equal((await fault(stub.append({ entry: 'no' }, call({ signal: stop.signal })))).origin, 'unsent');
    assert.ok(!service.entries.includes('no'));
  });

  it("aborts the callee's signal at the deadline", async () => {
    assert.equal((await fault(stub.listen({ ms: 30_000 }, call()))).code, 'deadline');
    assert.equal((service.heard.at(-1) as Fault).code, 'deadline');
  });

  it('keeps the order of calls that are made one after the other', async () => {
    const entries = Array.from({ length: 100 }, (_, i) => `entry ${i}`);
    service.entries.length = 0;
    await Promise.all(entries.map((entry) => stub.append({ entry }, call())));
    assert.deepEqual((await stub.log({}, call())).entries, entries);
  });

  it('answers unavailable and unsent while the module does not run', async () => {
    target.withdraw();
    const { code, origin } = await fault(stub.append({ entry: 'nobody home' }, call()));
    target.serve(service);
    assert.deepEqual([code, origin], ['unavailable', 'unsent']);
    await stub.append({ entry: 'home again' }, call());
  });
}

describe('inline-strict alone', () => {
  const target = new Target(subject);
  const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
  const stub = placements['inline-strict'](target, subject, silent);
  target.serve(new SubjectService());
  const call = new Call({ workspace: null, actor: { kind: 'system', id: 'test' }, deadline: Date.now() + 60_000 });

  it('refuses a request that the contract does not allow, naming every field', async () => {
    const error = (await stub.wait({ ms: -1 }, call).catch((e: unknown) => e)) as Fault;
    assert.equal(error.code, 'invalid');
    assert.deepEqual((error.details.problems as { field: string }[]).map((p) => p.field), ['ms']);
  });

  it('refuses an answer that the contract does not allow', async () => {
    assert.equal(((await stub.lie({}, call).catch((e: unknown) => e)) as Fault).code, 'internal');
  });

  it('refuses a reason that the contract does not declare', async () => {
    assert.equal(((await stub.fail({ code: 'conflict', reason: 'made_up' }, call).catch((e: unknown) => e)) as Fault).code, 'internal');
  });

  it('shares no object between caller and callee', async () => {
    const value = { deep: { list: [1] } };
    const answer = await stub.echo({ value }, call);
    assert.deepEqual(answer.value, value);
    assert.notEqual(answer.value, value);
  });
});

describe('a target', () => {
  it('names every operation that an implementation lacks', () => {
    assert.throws(() => new Target(subject).serve({ echo() {}, who() {} }), /fail, crash, wait, listen, append, log, lie/);
  });
});
