import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { type TestContext as Test, test } from 'node:test';
import { z } from 'zod';
import { Call, deadlineFault } from '../../../src/kernel/call.ts';
import { command, contract, query, schemasOf } from '../../../src/kernel/contract.ts';
import { deadlines } from '../../../src/kernel/deadline.ts';
import { Fault, type FaultOrigin } from '../../../src/kernel/fault.ts';
import { Edge } from '../../../src/fabric/edge.ts';
import { bindRemote } from '../../../src/fabric/remote.ts';
import { REPLICA_DEFAULTS } from '../../../src/fabric/replica.ts';
import { Replicas } from '../../../src/fabric/replicas.ts';
import { Serving } from '../../../src/fabric/serve.ts';
import { Target } from '../../../src/fabric/target.ts';
import { silentLog } from '../../support/context.ts';
import { ScriptedLink } from '../../support/scripted-link.ts';

interface Shop {
  look(request: { n: number }, call: Call): Promise<{ n: number }>;
  buy(request: { n: number }, call: Call): Promise<{ n: number }>;
}
interface Bell {
  ring(request: { n: number }, call: Call): Promise<{ n: number }>;
  /** Waits for as long as 20 s on purpose. */
  listen(request: { n: number }, call: Call): Promise<{ n: number }>;
}
const N = z.object({ n: z.int() });
const shop = contract<Shop>('shop', { look: query({ input: N, output: N, timeoutMs: 2_000 }), buy: command({ input: N, output: N, timeoutMs: 2_000 }) });
/** At the same host. */
const bell = contract<Bell>('bell', { ring: query({ input: N, output: N, timeoutMs: 2_000 }), listen: query({ input: N, output: N, timeoutMs: 30_000 }) });

const REST_MS = REPLICA_DEFAULTS.restMs;
const WARM_MS = REPLICA_DEFAULTS.slowStartMs;

/** Three replicas `a`, `b`, `c` of the host `shop`, behind links that the test answers for. */
class Rig {
  readonly links = new Map<string, ScriptedLink>();
  readonly edge = new Edge();
  nowMs = 0;
  readonly replicas = new Replicas({ host: 'shop', contracts: [shop, bell], newLink: (address) => this.#newLink(address), log: silentLog, now: () => this.nowMs });
  readonly stub = bindRemote(shop, this.replicas, this.edge);
  readonly bell = bindRemote(bell, this.replicas, this.edge);
  readonly made: ScriptedLink[] = [];

  constructor(t: Test) {
    t.after(async () => {
      await this.replicas.stop(0);
      assert.equal(deadlines.size, 0, 'a deadline was left');
    });
  }

  /** Open, and warm unless told otherwise. */
  async open(...addresses: string[]): Promise<ScriptedLink[]> {
    this.replicas.update(addresses);
    for (const address of addresses) if (this.link(address).state !== 'open') this.link(address).open(introduction(address));
    await turn();
    this.nowMs += WARM_MS;
    return addresses.map((address) => this.link(address));
  }

  link(address: string): ScriptedLink {
    return this.links.get(address)!;
  }

  #newLink(address: string): ScriptedLink {
    const link = new ScriptedLink();
    // As real links do, it connects a moment later.
    link.start = async () => link.become('connecting', `${address} does not answer.`);
    this.links.set(address, link);
    this.made.push(link);
    return link;
  }
}

function introduction(process: string, hash = shop.hash, host = 'shop') {
  return { host, process, contracts: { shop: hash, bell: bell.hash } };
}
function call(over: Partial<ConstructorParameters<typeof Call>[0]> = {}): Call {
  return new Call({ workspace: 'w1', actor: { kind: 'user', id: 'u1' }, deadline: Date.now() + 10_000, ...over });
}
function fault(origin: FaultOrigin, code: 'unavailable' | 'conflict' | 'invalid' = 'unavailable', reason = 'scripted'): Fault {
  return new Fault(code, 'As the script says.', { origin, reason });
}
async function outcomeOf(answer: Promise<unknown>): Promise<unknown> {
  return answer.then(
    (value) => value,
    (thrown: unknown) => (Fault.is(thrown) ? `${thrown.code}/${thrown.reason} ${thrown.origin}` : thrown),
  );
}
const turn = (): Promise<void> => new Promise(setImmediate);
const echo: NonNullable<ScriptedLink['answer']> = ({ request }, reply) => reply.succeed(request);
const failing = (origin: FaultOrigin, code?: 'unavailable' | 'conflict' | 'invalid'): NonNullable<ScriptedLink['answer']> => (_call, reply) => reply.fail(fault(origin, code));

test('a call goes to the replica with the fewest under way', async (t) => {
  const rig = new Rig(t);
  const [a, b, c] = await rig.open('a', 'b', 'c');
  const calls = Array.from({ length: 9 }, (_, n) => rig.stub.look({ n }, call()));
  assert.deepEqual([a, b, c].map((link) => link!.sent.length), [3, 3, 3]);
  for (const sent of b!.sent) sent.succeed(sent.call.request);
  calls.push(...[9, 10, 11].map((n) => rig.stub.look({ n }, call())));
  assert.deepEqual([a, b, c].map((link) => link!.sent.length), [3, 6, 3]);
  for (const link of [a, b, c]) for (const sent of link!.sent) sent.succeed(sent.call.request);
  assert.deepEqual(await Promise.all(calls), Array.from({ length: 12 }, (_, n) => ({ n })));
});

test('calls one at a time go round', async (t) => {
  const rig = new Rig(t);
  const links = await rig.open('a', 'b', 'c');
  for (const link of links) link.answer = echo;
  for (let n = 0; n < 30; n++) await rig.stub.look({ n }, call());
  assert.deepEqual(links.map(({ sent }) => sent.length), [10, 10, 10]);
});

test('a replica that has just come gets a small share, and its full one after a while', async (t) => {
  const rig = new Rig(t);
  await rig.open('a');
  rig.replicas.update(['a', 'b']);
  rig.link('b').open(introduction('b'));
  await turn();
  const share = (): number => {
    const before = rig.link('b').sent.length;
    const calls = Array.from({ length: 40 }, (_, n) => rig.stub.look({ n }, call()));
    const got = rig.link('b').sent.length - before;
    for (const link of rig.links.values()) for (const sent of link.sent.splice(0)) sent.succeed(sent.call.request);
    void Promise.all(calls);
    return got;
  };
  assert.ok(share() <= 5, 'at first');
  rig.nowMs += WARM_MS / 2;
  const half = share();
  assert.ok(half > 8 && half < 18, `half way ${half}`);
  rig.nowMs += WARM_MS;
  assert.equal(share(), 20);
});

test('a replica whose calls fail too often is left alone, alone, then tried with one call', async (t) => {
  const rig = new Rig(t);
  const [a, b] = await rig.open('a', 'b');
  a!.answer = failing('lost');
  b!.answer = echo;
  const state = (): string => rig.replicas.states()[0]!.state;
  for (let n = 0; state() === 'open'; n++) {
    assert.ok(n < 60, 'the breaker never opened');
    assert.deepEqual(await rig.stub.look({ n }, call()), { n }, 'every call was answered elsewhere');
  }
  assert.deepEqual(rig.replicas.states().map((one) => one.state), ['resting', 'open']);
  const before = a!.sent.length;
  assert.ok(before >= 10, 'nothing is concluded from fewer');
  for (let n = 0; n < 20; n++) await rig.stub.look({ n }, call());
  assert.equal(a!.sent.length, before);
  rig.nowMs += REST_MS + 1;
  a!.answer = undefined;
  const calls = Array.from({ length: 10 }, (_, n) => rig.stub.look({ n }, call()));
  assert.equal(a!.sent.length, before + 1, 'one trial call at a time');
  a!.sent.at(-1)!.succeed({ n: 0 });
  await Promise.all(calls);
  assert.equal(state(), 'open');
  rig.nowMs += WARM_MS;
  a!.answer = echo;
  for (let n = 0; n < 10; n++) await rig.stub.look({ n }, call());
  assert.equal(a!.sent.length, before + 6);
});

test('each trial that fails doubles the rest', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  a!.answer = failing('lost');
  const state = (): string => rig.replicas.states()[0]!.state;
  while (state() === 'open') await outcomeOf(rig.stub.buy({ n: 1 }, call()));
  rig.nowMs += REST_MS + 1;
  assert.equal(await outcomeOf(rig.stub.buy({ n: 1 }, call())), 'unavailable/scripted lost');
  rig.nowMs += REST_MS + 1;
  assert.equal(state(), 'resting');
  assert.equal(await outcomeOf(rig.stub.buy({ n: 1 }, call())), 'unavailable/resting unsent');
  rig.nowMs += REST_MS;
  assert.equal(state(), 'open');
});

test('a trial call that waits for long on purpose keeps the others away for one rest, not until its answer', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  a!.answer = failing('lost');
  const state = (): string => rig.replicas.states()[0]!.state;
  while (state() === 'open') await outcomeOf(rig.stub.buy({ n: 1 }, call()));
  rig.nowMs += REST_MS + 1;
  a!.answer = undefined;
  const long = rig.stub.look({ n: 1 }, call());
  assert.equal(await outcomeOf(rig.stub.buy({ n: 2 }, call())), 'unavailable/resting unsent');
  rig.nowMs += REST_MS + 1;
  a!.answer = echo;
  assert.deepEqual(await outcomeOf(rig.stub.buy({ n: 3 }, call())), { n: 3 });
  assert.equal(state(), 'open');
  a!.sent.at(-2)!.succeed({ n: 1 });
  assert.deepEqual(await long, { n: 1 });
});

test('calls that began before a rest neither end nor prolong it', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  const early = Array.from({ length: 30 }, (_, n) => outcomeOf(rig.stub.buy({ n }, call())));
  const sent = [...a!.sent];
  const state = (): string => rig.replicas.states()[0]!.state;
  let at = 0;
  while (state() === 'open') sent[at++]!.fail(fault('lost'));
  sent[at++]!.succeed({ n: 1 });
  assert.equal(state(), 'resting');
  while (at < sent.length) sent[at++]!.fail(fault('lost'));
  rig.nowMs += REST_MS + 1;
  assert.equal(state(), 'open', 'the rest was not prolonged');
  await Promise.all(early);
});

test('answers that are faults, and calls that were let go or cannot cross, do not speak against a replica', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  for (const answer of [failing('unsent', 'invalid'), failing('reply', 'conflict')]) {
    a!.answer = answer;
    for (let n = 0; n < 20; n++) await outcomeOf(rig.stub.look({ n }, call()));
  }
  a!.answer = undefined;
  for (let n = 0; n < 20; n++) {
    const stop = new AbortController();
    const answer = outcomeOf(rig.stub.look({ n }, call({ signal: stop.signal })));
    stop.abort();
    assert.equal(await answer, 'cancelled/cancelled lost');
  }
  assert.equal(rig.replicas.states()[0]!.state, 'open');
});

test('calls of one contract that fail too often leave those of another one alone', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  a!.answer = ({ contract, request }, reply) => (contract === 'bell' ? reply.succeed(request) : reply.fail(fault('lost')));
  while (rig.replicas.states()[0]!.state === 'open') await outcomeOf(rig.stub.buy({ n: 1 }, call()));
  assert.equal(await outcomeOf(rig.stub.buy({ n: 1 }, call())), 'unavailable/resting unsent');
  assert.deepEqual(await rig.bell.ring({ n: 2 }, call()), { n: 2 });
  assert.match(rig.replicas.states()[0]!.problem!, /shop/);
  assert.doesNotMatch(rig.replicas.states()[0]!.problem!, /bell/);
});

test('a call that is long on purpose is not the trial of a contract that rested', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  a!.answer = failing('lost');
  while (rig.replicas.states()[0]!.state === 'open') await outcomeOf(rig.bell.ring({ n: 1 }, call()));
  rig.nowMs += REST_MS + 1;
  a!.answer = undefined;
  const long = rig.bell.listen({ n: 1 }, call());
  a!.answer = echo;
  assert.deepEqual(await outcomeOf(rig.bell.ring({ n: 2 }, call())), { n: 2 });
  a!.sent.at(-2)!.succeed({ n: 1 });
  assert.deepEqual(await long, { n: 1 });
});

test('a fault that the callee passes on speaks for neither another try nor against the callee', async (t) => {
  for (const origin of ['reply', 'lost'] as const) {
    const rig = new Rig(t);
    const [a] = await rig.open('a');
    a!.answer = (_call, reply) => reply.fail(fault(origin).with({ spent: true }));
    for (let n = 0; n < 40; n++) assert.equal(await outcomeOf(rig.stub.look({ n }, call())), `unavailable/scripted ${origin}`);
    assert.equal(a!.sent.length, 40);
    assert.equal(rig.replicas.states()[0]!.state, 'open');
  }
});

test('that a callee ran out of time over something of its own is an answer', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  a!.answer = (_call, reply) => reply.fail(deadlineFault());
  for (let n = 0; n < 40; n++) assert.equal(await outcomeOf(rig.stub.buy({ n }, call())), 'deadline/deadline lost');
  assert.equal(rig.replicas.states()[0]!.state, 'open');
});

test('calls through several hosts are tried three times in all where they fail, and a command without a key has one effect', async (t) => {
  const far = new Rig(t);
  const [c] = await far.open('c');
  c!.answer = failing('lost');
  let effects = 0;
  const target = new Target(shop);
  target.serve({
    look: (request: { n: number }, made: Call) => far.stub.look(request, made),
    buy: (request: { n: number }, made: Call) => {
      effects++;
      return far.stub.look(request, made);
    },
  });
  const serving = new Serving([target], silentLog);
  const near = new Rig(t);
  const [b] = await near.open('b');
  b!.answer = async (asked, reply) => {
    const answer = await serving.dispatch({ ...asked, signal: new AbortController().signal });
    if ('fault' in answer) reply.fail(Fault.fromRecord(answer.fault));
    else reply.succeed(answer.value);
  };
  assert.equal(await outcomeOf(near.stub.look({ n: 1 }, call())), 'unavailable/scripted lost');
  assert.deepEqual([b!.sent.length, c!.sent.length], [1, 3]);
  far.replicas.update([]);
  far.nowMs += 20_000;
  assert.equal(await outcomeOf(near.stub.buy({ n: 1 }, call())), 'unavailable/not_connected reply');
  assert.deepEqual([b!.sent.length, effects], [2, 1]);
});

test('while a module starts one of those who wait asks every 100 ms; once it answers, the others follow faster and faster', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  const target = new Target(shop);
  a!.answer = (_call, reply) => reply.fail(target.notRunning());
  const answers = Array.from({ length: 500 }, (_, n) => outcomeOf(rig.stub.buy({ n }, call())));
  await turn();
  assert.equal(a!.sent.length, 500);
  for (let asked = 1; asked <= 10; asked++) {
    t.mock.timers.tick(100);
    await turn();
    assert.equal(a!.sent.length, 500 + asked);
  }
  a!.answer = undefined;
  t.mock.timers.tick(100);
  const rounds: number[] = [];
  for (let done = 510; done < a!.sent.length; ) {
    const round = a!.sent.slice(done);
    rounds.push(round.length);
    done = a!.sent.length;
    for (const sent of round) sent.succeed(sent.call.request);
    await turn();
  }
  assert.deepEqual(rounds, [1, 2, 4, 8, 16, 32, 64, 128, 245]);
  assert.deepEqual(await Promise.all(answers), Array.from({ length: 500 }, (_, n) => ({ n })));
});

test('whoever waits for a module to start is told in time that it does not run', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  const target = new Target(shop);
  a!.answer = (_call, reply) => reply.fail(target.notRunning());
  const deadline = Date.now() + 400;
  const outcomes = await Promise.all(Array.from({ length: 20 }, (_, n) => outcomeOf(rig.stub.buy({ n }, call({ deadline })))));
  assert.deepEqual(new Set(outcomes), new Set(['unavailable/not_running unsent']));
  assert.ok(a!.sent.length < 30, `${a!.sent.length} requests`);
});

test('a request that cannot cross is not tried again', async (t) => {
  const rig = new Rig(t);
  const [a, b] = await rig.open('a', 'b');
  a!.answer = b!.answer = failing('unsent', 'invalid');
  assert.equal(await outcomeOf(rig.stub.look({ n: 1 }, call())), 'invalid/scripted unsent');
  assert.equal(a!.sent.length + b!.sent.length, 1);
});

for (const [what, method, key, origin, code, tries] of [
  ['a query that was lost', 'look', undefined, 'lost', 'unavailable', 2],
  ['a command with a key that was lost', 'buy', 'k', 'lost', 'unavailable', 2],
  ['a command without a key that was lost', 'buy', undefined, 'lost', 'unavailable', 1],
  ['a command that did not leave', 'buy', undefined, 'unsent', 'unavailable', 2],
  ['a query whose callee says that it is unavailable', 'look', undefined, 'reply', 'unavailable', 2],
  ['a command with a key whose callee says that it is unavailable', 'buy', 'k', 'reply', 'unavailable', 2],
  ['a command without a key whose callee says that it is unavailable', 'buy', undefined, 'reply', 'unavailable', 1],
  ['a query that was answered with a fault', 'look', undefined, 'reply', 'conflict', 1],
] as const) {
  test(`${what} is made ${tries === 1 ? 'once' : 'again, elsewhere and at once'}`, async (t) => {
    const rig = new Rig(t);
    const [a, b] = await rig.open('a', 'b');
    a!.answer = failing(origin, code);
    b!.answer = echo;
    let outcome: unknown;
    void outcomeOf(rig.stub[method]({ n: 7 }, call(key === undefined ? {} : { idempotencyKey: key }))).then((found) => (outcome = found));
    // A pause would take a timer.
    for (let turns = 0; turns < 5; turns++) await turn();
    assert.deepEqual(outcome, tries === 1 ? `${code}/scripted ${origin}` : { n: 7 });
    assert.equal(a!.sent.length + b!.sent.length, tries);
    assert.equal(rig.edge.figures().retried, tries - 1);
    if (tries > 1) assert.deepEqual([a!.sent[0]!.call.id, a!.sent[0]!.call.idempotencyKey], [b!.sent[0]!.call.id, key]);
  });
}

test('with nobody else there a call is made again after a pause, three times in all', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  a!.answer = failing('lost');
  const began = performance.now();
  assert.equal(await outcomeOf(rig.stub.look({ n: 1 }, call())), 'unavailable/scripted lost');
  assert.equal(a!.sent.length, 3);
  assert.ok(performance.now() - began >= 25, 'pauses of 10 and 20 ms at least');
});

test('that the last try did not leave says nothing of the tries before', async (t) => {
  const rig = new Rig(t);
  const [a, b] = await rig.open('a', 'b');
  a!.answer = failing('lost');
  b!.answer = failing('unsent');
  assert.match(String(await outcomeOf(rig.stub.look({ n: 1 }, call()))), /lost$/);
});

test('a pause that would outlast the deadline is not begun', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  a!.answer = failing('unsent');
  assert.equal(await outcomeOf(rig.stub.look({ n: 1 }, call({ deadline: Date.now() + 9 }))), 'unavailable/scripted unsent');
});

test('a callee that was there a moment ago is waited for', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  rig.nowMs += 3_600_000;
  a!.become('connecting', 'a is away.');
  const answer = rig.stub.buy({ n: 3 }, call());
  await turn();
  assert.equal(a!.sent.length, 0);
  a!.answer = echo;
  a!.open(introduction('a, again'));
  assert.deepEqual(await answer, { n: 3 });
});

test('a callee that left the list a moment ago is waited for as well', async (t) => {
  const rig = new Rig(t);
  await rig.open('a');
  const early = rig.stub.look({ n: 2 }, call());
  rig.nowMs += 3_600_000;
  rig.replicas.update([]);
  const answer = rig.stub.buy({ n: 3 }, call());
  rig.replicas.update(['b']);
  rig.link('b').answer = echo;
  rig.link('b').open(introduction('b'));
  assert.deepEqual(await answer, { n: 3 });
  rig.link('a').sent[0]!.succeed({ n: 2 });
  await early;
});

test('waiting for a callee ends at the deadline, unsent, and leaves nothing behind', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  a!.become('connecting', 'a is away.');
  const stop = new AbortController();
  assert.equal(await outcomeOf(rig.stub.buy({ n: 3 }, call({ deadline: Date.now() + 30, signal: stop.signal }))), 'deadline/deadline unsent');
  assert.equal(getEventListeners(stop.signal, 'abort').length, 0);
  a!.answer = echo;
  a!.open(introduction('a'));
  await turn();
  assert.equal(a!.sent.length, 0);
});

test('no more calls wait for a callee than there is room for', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  a!.become('connecting', 'a is away.');
  const answers = Array.from({ length: 5_000 }, (_, n) => outcomeOf(rig.stub.look({ n }, call())));
  assert.equal(await answers.at(-1), 'unavailable/not_connected unsent');
  a!.answer = echo;
  a!.open(introduction('a'));
  const outcomes = await Promise.all(answers);
  assert.deepEqual([outcomes.filter((one) => typeof one === 'object').length, outcomes.filter((one) => typeof one === 'string').length], [4_096, 904]);
});

test('a callee that has been away for long is not waited for, and its fault says why', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  a!.become('connecting', 'a is away.');
  rig.nowMs += 10_001;
  const thrown = (await rig.stub.look({ n: 3 }, call()).catch((e: unknown) => e)) as Fault;
  assert.deepEqual([thrown.code, thrown.reason, thrown.origin], ['unavailable', 'not_connected', 'unsent']);
  assert.match(thrown.message, /Host shop .*a is away/);
});

test('a replica that leaves the list answers what is under way, gets nothing new, and is closed', async (t) => {
  const rig = new Rig(t);
  const [a, b] = await rig.open('a', 'b');
  b!.answer = echo;
  a!.answer = undefined;
  const calls = [rig.stub.look({ n: 0 }, call()), rig.stub.look({ n: 1 }, call())];
  assert.equal(a!.sent.length, 1);
  rig.replicas.update(['b']);
  assert.deepEqual(rig.replicas.states().map(({ address, state, pending }) => [address, state, pending]), [['b', 'open', 1], ['a', 'leaving', 1]]);
  for (let n = 0; n < 5; n++) await rig.stub.look({ n }, call());
  assert.deepEqual([a!.sent.length, a!.stoppedWithin], [1, undefined]);
  a!.sent[0]!.succeed({ n: 0 });
  await Promise.all(calls);
  await turn();
  assert.equal(a!.stoppedWithin, 0);
  assert.deepEqual(rig.replicas.states().map(({ address }) => address), ['b']);
});

test('an address that comes back while it leaves is a new replica, and both are closed in the end', async (t) => {
  const rig = new Rig(t);
  await rig.open('a');
  const answer = outcomeOf(rig.stub.look({ n: 0 }, call()));
  rig.replicas.update([]);
  rig.replicas.update(['a']);
  rig.replicas.update([]);
  assert.equal(rig.made.length, 2);
  await rig.replicas.stop(5);
  rig.made[0]!.sent[0]!.fail(fault('lost'));
  assert.equal(await answer, 'unavailable/not_connected lost');
  assert.deepEqual(rig.made.map(({ stoppedWithin }) => stoppedWithin !== undefined), [true, true]);
});

test('processes with another hash are called when their contract fits, and refused by name and field when not', async (t) => {
  const rig = new Rig(t);
  const more = z.object({ n: z.int(), coupon: z.string().optional() });
  const needed = z.object({ n: z.int(), coupon: z.string() });
  const offerOf = (input: z.ZodType): object => schemasOf({ look: query({ input, output: N, timeoutMs: 1 }), buy: command({ input: N, output: N, timeoutMs: 1 }) });
  rig.replicas.update(['fits', 'misfits']);
  for (const [address, input] of [['fits', more], ['misfits', needed]] as const) {
    rig.link(address).offers = [{ name: 'shop', hash: `hash of ${address}`, operations: offerOf(input) as never }];
    rig.link(address).answer = echo;
    rig.link(address).open(introduction(address, `hash of ${address}`));
  }
  await turn();
  for (let n = 0; n < 6; n++) await rig.stub.look({ n }, call());
  assert.deepEqual([rig.link('fits').sent.length, rig.link('misfits').sent.length], [6, 0]);
  assert.match(rig.replicas.states()[1]!.problem!, /shop on host shop does not fit: look wants field coupon/);
  rig.replicas.update(['misfits']);
  const thrown = (await rig.stub.look({ n: 1 }, call()).catch((e: unknown) => e)) as Fault;
  assert.deepEqual([thrown.code, thrown.reason, thrown.origin], ['unavailable', 'incompatible', 'unsent']);
  assert.match(thrown.message, /coupon/);
  rig.link('misfits').become('connecting', 'It restarts.');
  rig.link('misfits').open(introduction('after the update'));
  await turn();
  assert.deepEqual(await rig.stub.look({ n: 1 }, call()), { n: 1 });
});

test('while one replica is incompatible and the other one restarts, calls wait', async (t) => {
  const rig = new Rig(t);
  const [a, b] = await rig.open('a', 'b');
  a!.become('connecting', 'It restarts.');
  a!.offers = [{ name: 'shop', hash: 'other', operations: {} }];
  a!.open(introduction('a, updated', 'other'));
  await turn();
  b!.become('connecting', 'It restarts.');
  const answer = rig.stub.look({ n: 4 }, call());
  await turn();
  b!.answer = echo;
  b!.open(introduction('b'));
  assert.deepEqual(await answer, { n: 4 });
});

test('whoever answers under another name, or does not serve the contract, is not called', async (t) => {
  for (const [peer, words] of [[introduction('x', shop.hash, 'mailer'), /host mailer answers there, shop was expected/], [{ host: 'shop', process: 'x', contracts: {} }, /host shop does not serve shop/]] as const) {
    const rig = new Rig(t);
    rig.replicas.update(['a']);
    rig.link('a').open(peer);
    await turn();
    const thrown = (await rig.stub.look({ n: 1 }, call()).catch((e: unknown) => e)) as Fault;
    assert.deepEqual([thrown.reason, thrown.origin, rig.link('a').sent.length], ['incompatible', 'unsent', 0]);
    assert.match(thrown.message, words);
  }
});

test('a process that could not say what it serves is asked again while it stays connected', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const rig = new Rig(t);
  rig.replicas.update(['a']);
  const link = rig.link('a');
  link.offers = new Fault('deadline', 'Too slow.', { origin: 'lost' });
  link.open(introduction('a', 'other'));
  await turn();
  assert.equal(rig.replicas.ready, false);
  link.offers = [{ name: 'shop', hash: 'other', operations: schemasOf(shop.operations) as never }];
  t.mock.timers.tick(1_000);
  await turn();
  assert.deepEqual([rig.replicas.ready, link.described], [true, 2]);
});

test('calls under way and calls that wait leave no listener, timer or deadline behind', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  const stop = new AbortController();
  const answers = Array.from({ length: 100 }, (_, n) => outcomeOf(rig.stub.look({ n }, call({ signal: stop.signal }))));
  assert.equal(deadlines.size, 100);
  for (const [n, sent] of a!.sent.entries()) if (n % 2 === 0) sent.succeed({ n });
  a!.become('connecting', 'It restarts.');
  answers.push(...Array.from({ length: 50 }, (_, n) => outcomeOf(rig.stub.look({ n }, call({ signal: stop.signal })))));
  stop.abort();
  const outcomes = await Promise.all(answers);
  assert.deepEqual([outcomes.filter((one) => one === 'cancelled/cancelled lost').length, outcomes.filter((one) => one === 'cancelled/cancelled unsent').length], [50, 50]);
  assert.deepEqual([deadlines.size, getEventListeners(stop.signal, 'abort').length, rig.replicas.states()[0]!.pending], [0, 0, 0]);
  assert.equal(a!.sent.filter(({ cancelled }) => cancelled).length, 50);
});

test('stopping ends calls that wait and closes every connection within the deadline', async (t) => {
  const rig = new Rig(t);
  const [a] = await rig.open('a');
  a!.become('connecting', 'a is away.');
  const answer = outcomeOf(rig.stub.look({ n: 1 }, call()));
  await rig.replicas.stop(123);
  assert.equal(await answer, 'unavailable/not_connected unsent');
  assert.equal(a!.stoppedWithin, 123);
  rig.replicas.update(['b']);
  assert.equal(rig.made.length, 1);
});

test('the figures of an edge count calls, failures, tries and times', async (t) => {
  const rig = new Rig(t);
  assert.deepEqual([rig.edge.figures().calls, rig.edge.figures().p50Ms, rig.edge.figures().p99Ms], [0, null, null]);
  const edge = new Edge();
  for (let ms = 1; ms <= 100; ms++) edge.ended(ms, ms > 90 ? 'internal' : undefined);
  const { calls, failed, p50Ms, p99Ms, callsPerSecond, failedPerSecond } = edge.figures();
  assert.deepEqual([calls, failed, callsPerSecond, failedPerSecond], [100, 10, 100, 10]);
  assert.ok(Math.abs(p50Ms! - 50) < 7.5 && Math.abs(p99Ms! - 99) < 15, `${p50Ms} ${p99Ms}`);
});
