import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import type { z } from 'zod';
import { storageDrivers } from '../../adapters/storage/catalog.ts';
import { Call, newTrace } from '../../src/kernel/call.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { deadlines } from '../../src/kernel/deadline.ts';
import { Fault, type FaultCode, FAULT_STATUS, type FaultOrigin } from '../../src/kernel/fault.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import type { Storage } from '../../src/ports/storage.ts';
import { Once } from '../../src/fabric/once.ts';
import { placements } from '../../src/fabric/placements.ts';
import { fabricMigrations } from '../../src/fabric/tables.ts';
import { Target } from '../../src/fabric/target.ts';
import { testContext } from '../support/context.ts';
import { type Place, type Placed, places, repeating } from '../support/placed.ts';
import { type Mixture, type Subject, subject, SubjectService } from './subject.ts';

/** What every placement must do alike: a new placement is one more row of the table. */
for (const [name, place] of Object.entries(places)) describe(`a call, ${name}`, () => contractSuite(name, place));

function contractSuite(placement: string, place: Place): void {
  const logged: object[] = [];
  const log: Log = { debug() {}, info() {}, warn() {}, error: (fields) => void logged.push(fields), child: () => log };
  const service = new SubjectService();
  const target = new Target(subject);
  const context = testContext();
  let storage: Storage;
  let placed: Placed<Subject>;
  let stub: Subject;
  before(async () => {
    storage = storageDrivers.sqlite.create(storageDrivers.sqlite.settings.parse({}), { ...context, name: 'subject' });
    await storage.start();
    await storage.migrate(fabricMigrations);
    target.serve(new Once(storage, systemClock).guard(subject, service));
    placed = await place(target, subject, log);
    stub = repeating(subject, placed.stub, isSame);
  });
  after(async () => {
    await placed.close();
    await storage.stop(1_000);
    context.remove();
  });
  const call = (over: Partial<ConstructorParameters<typeof Call>[0]> = {}): Call =>
    new Call({ workspace: 'w1', actor: { kind: 'user', id: 'u1' }, deadline: Date.now() + 10_000, ...over });
  afterEach(async () => {
    // The callee hears of a call that was let go a moment later.
    await eventually(() => deadlines.size === 0, 'a deadline was left in the wheel');
  });

  it('carries any JSON value there and back', async (t) => {
    const seed = Date.now() % 2 ** 31;
    t.diagnostic(`seed ${seed}`);
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const json = JSON.parse(JSON.stringify(value)) as null;
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
      const { code: got, reason, details, origin } = await faultOf(stub.fail({ code, reason: 'declared_reason' }, call()));
      assert.deepEqual({ got, reason, details, origin }, { got: code, reason: 'declared_reason', details: { list: [1, 'two', null] }, origin: 'reply' });
    });
  }

  it('does not pass on that a call of the callee never left, but does that nobody knows', async () => {
    const originOf = async (origin: FaultOrigin): Promise<unknown[]> => {
      const fault = await faultOf(stub.nested({ origin }, call()));
      return [fault.code, fault.reason, fault.origin];
    };
    assert.deepEqual(await originOf('reply'), ['unavailable', 'not_connected', 'reply']);
    assert.deepEqual(await originOf('unsent'), ['unavailable', 'not_connected', 'reply']);
    assert.deepEqual(await originOf('lost'), ['unavailable', 'not_connected', 'lost']);
  });

  it('gives a command with an idempotency key one effect and one answer', async () => {
    service.entries.length = 0;
    const keyed = call({ idempotencyKey: newTrace().traceId });
    assert.deepEqual(await stub.append({ entry: 'one' }, keyed), { length: 1 });
    assert.deepEqual(service.entries, ['one']);
    const other = await faultOf(placed.stub.append({ entry: 'two' }, keyed));
    assert.deepEqual([other.code, other.reason, other.origin], ['invalid', 'idempotency_key_reused', 'reply']);
    assert.deepEqual(service.entries, ['one']);
  });

  it('hides what an unexpected exception says and logs it at the callee, under the call id', async () => {
    logged.length = 0;
    const made = call();
    const { code, message, stack } = await faultOf(stub.crash({}, made));
    assert.equal(code, 'internal');
    assert.doesNotMatch(`${message}${placement === 'inline' ? '' : stack}`, /hunter2/);
    assert.equal((logged[0] as { callId: string }).callId, made.id);
  });

  it('gives up at the nearer of the two deadlines even when the callee never answers', async () => {
    const began = performance.now();
    const { code } = await faultOf(stub.wait({ ms: 30_000 }, call()));
    const tookMs = performance.now() - began;
    assert.equal(code, 'deadline');
    assert.ok(tookMs >= 195 && tookMs < 5_000, `${tookMs} ms`);
    assert.equal((await faultOf(stub.wait({ ms: 30_000 }, call({ deadline: Date.now() + 50 })))).code, 'deadline');
  });

  it('does not run a call whose deadline has passed', async () => {
    const before = service.entries.length;
    const { code, origin } = await faultOf(stub.append({ entry: 'late' }, call({ deadline: Date.now() - 1 })));
    assert.deepEqual([code, origin, service.entries.length], ['deadline', 'unsent', before]);
  });

  it('ends a call when its caller cancels, and tells the callee', async () => {
    const heard = service.heard.length;
    const stop = new AbortController();
    const pending = stub.listen({ ms: 30_000 }, call({ signal: stop.signal, deadline: Date.now() + 10_000 }));
    await eventually(() => service.listening > 0, 'the call did not arrive');
    stop.abort();
    assert.equal((await faultOf(pending)).code, 'cancelled');
    await eventually(() => service.heard.length > heard, 'the callee heard nothing');
    assert.equal((service.heard.at(-1) as Fault).code, 'cancelled');
    assert.equal((await faultOf(stub.append({ entry: 'no' }, call({ signal: stop.signal })))).origin, 'unsent');
    assert.ok(!service.entries.includes('no'));
  });

  it("aborts the callee's signal at the deadline", async () => {
    const heard = service.heard.length;
    assert.equal((await faultOf(stub.listen({ ms: 30_000 }, call()))).code, 'deadline');
    await eventually(() => service.heard.length > heard, 'the callee heard nothing');
    assert.equal((service.heard.at(-1) as Fault).code, 'deadline');
  });

  // Requests that go over several connections overtake each other.
  if (placement !== 'http, each call in a request of its own') it('keeps the order of calls that are made one after the other', async () => {
    const entries = Array.from({ length: 100 }, (_, i) => `entry ${i}`);
    service.entries.length = 0;
    await Promise.all(entries.map((entry) => stub.append({ entry }, call())));
    assert.deepEqual((await stub.log({}, call())).entries, entries);
  });

  it('answers unavailable and unsent while the module does not run', async () => {
    target.withdraw();
    const { code, origin } = await faultOf(stub.append({ entry: 'nobody home' }, call({ deadline: Date.now() + 500 })));
    target.serve(service);
    assert.deepEqual([code, origin], ['unavailable', 'unsent']);
    await stub.append({ entry: 'home again' }, call());
  });
}

describe('requests by chance', () => {
  const seed = Number(process.env.MULTILITH_SEED ?? Date.now() % 2 ** 31);
  const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
  const target = new Target(subject);
  target.serve(new SubjectService());
  const made = (): Call => new Call({ workspace: 'w1', actor: { kind: 'user', id: 'u1' }, deadline: Date.now() + 60_000 });
  const inline = placements.inline(target, subject, silent);
  const strict = placements['inline-strict'](target, subject, silent);

  for (const [name, place] of Object.entries(places)) {
    it(`are answered ${name} as they are within the process`, async (t) => {
      t.diagnostic(`seed ${seed}`);
      const { stub, close } = await place(target, subject, silent);
      await fc
        .assert(
          fc.asyncProperty(mixture, async (request) => assert.deepEqual(await stub.mix(request, made()), await inline.mix(request, made()))),
          { seed, numRuns: 150 },
        )
        .finally(close);
    });

    if (name === 'inline') continue;
    it(`that the contract does not allow are refused ${name} in the same words`, async (t) => {
      t.diagnostic(`seed ${seed}`);
      const { stub, close } = await place(target, subject, silent);
      let refused = 0;
      await fc
        .assert(
          fc.asyncProperty(spoilt, async (request) => {
            const [here, there] = await Promise.all([outcomeOf(strict.mix(request as never, made())), outcomeOf(stub.mix(request as never, made()))]);
            assert.deepEqual(there, here);
            if ('code' in here) refused++;
          }),
          { seed, numRuns: 150 },
        )
        .finally(close);
      assert.ok(refused > 50, `${refused} were refused`);
    });
  }
});

const json = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as z.infer<typeof Mixture>['free']);
const mixture = fc.record(
  {
    text: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 4 }).filter(({ length }) => length <= 20),
    count: fc.integer({ min: 0, max: 1_000 }),
    share: fc.double({ min: 0.001, max: 1, noNaN: true }),
    state: fc.constantFrom('queued', 'sent', 'failed'),
    note: fc.string({ unit: 'binary' }),
    at: fc.option(fc.integer({ min: 0 })),
    tags: fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 3 }),
    // zod leaves the key __proto__ out of records.
    labels: fc.dictionary(fc.string().filter((key) => key !== '__proto__'), fc.oneof(fc.string(), fc.boolean())),
    place: fc.tuple(fc.integer(), fc.integer()),
    target: fc.oneof(fc.record({ kind: fc.constant('person' as const), id: fc.string() }), fc.record({ kind: fc.constant('segment' as const), size: fc.integer() })),
    free: json,
  },
  { requiredKeys: ['text', 'count', 'share', 'state', 'at', 'tags', 'labels', 'place', 'target', 'free'] },
).map((request) => JSON.parse(JSON.stringify(request)) as z.infer<typeof Mixture>);
/** With one field that is something else, or nothing, or with one too many. */
const spoilt = fc.tuple(mixture, fc.constantFrom('text', 'count', 'share', 'state', 'note', 'at', 'tags', 'labels', 'place', 'target', 'other'), fc.option(json, { nil: undefined })).map(([request, field, value]) => {
  const { [field as 'text']: _dropped, ...rest } = request;
  return value === undefined ? rest : { ...rest, [field]: value };
});

async function outcomeOf(answer: Promise<unknown>): Promise<object> {
  return answer.then(
    (value) => ({ value }),
    (thrown: unknown) => (Fault.is(thrown) ? thrown.toRecord() : { thrown }),
  );
}

async function faultOf(promise: Promise<unknown>): Promise<Fault> {
  const thrown = await promise.then(
    () => assert.fail('the call should have failed'),
    (e: unknown) => e,
  );
  assert.ok(Fault.is(thrown), `not a Fault: ${String(thrown)}`);
  return thrown;
}

async function eventually(holds: () => boolean, message: string): Promise<void> {
  const until = performance.now() + 5_000;
  while (!holds()) {
    assert.ok(performance.now() < until, message);
    await new Promise(setImmediate);
  }
}

/** What is left until the deadline differs from one call to the next. */
function isSame(first: unknown, second: unknown): boolean {
  const [a, b] = [first, second].map((outcome) => ({ ...(outcome as { value: object }), thrown: undefined, ...('leftMs' in Object((outcome as { value: object }).value) ? { value: { ...(outcome as { value: object }).value, leftMs: 0 } } : {}) }));
  return isDeepStrictEqual(a, b);
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
    assert.throws(() => new Target(subject).serve({ echo() {}, who() {} }), /fail, nested, mix, crash, wait, listen, append, log, lie/);
  });
});
