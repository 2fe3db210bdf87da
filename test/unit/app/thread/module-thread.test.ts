import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault } from '../../../../src/kernel/fault.ts';
import { AGAIN, BROKEN, TroubledHost } from '../../../support/troubled-host.ts';

test('a module on a thread is called, calls, stores, handles messages, logs and is measured as within the main thread', { timeout: 120_000 }, async () => {
  const it = await TroubledHost.start();
  const { status, body } = await it.ask('where');
  assert.equal(status, 200);
  assert.deepEqual([body.threadId > 0, body.greeting], [true, 'hello thread']);
  const [{ modules, edges }] = body.system.hosts;
  assert.deepEqual(modules.map(({ name, placement, restarts, problem }: any) => [name, placement, restarts, problem]), [['front', 'inline', 0, null], ['gate', 'inline', 0, null], ['troubled', 'thread', 0, null]]);
  const shownEdges = (all: any[]) => all.map(({ from, to, via, replicas }) => [from, to, via, replicas[0].state, replicas[0].bytesSent > 0]);
  assert.deepEqual(shownEdges(edges)[0], [undefined, 'troubled', 'thread', 'open', true]);
  await it.get('publish?50');
  await it.pagesUntil(async () => Object.keys((await it.ask('marks')).body.marks).length === 50);
  const { body: metrics } = await it.get('metrics');
  for (const line of ['multilith_edge_calls_total{from="troubled",to="front",host="app",via="thread"} 1', 'multilith_edge_pending{from="troubled",to="bus",host="app",via="thread"} 1', 'troubled_asked_total 1', 'message_handling_seconds_count{queue="troubled.mark",outcome="done"} 50', 'multilith_thread_eventloop_lag_p99_seconds{module="troubled"}', 'process_start_time_seconds']) assert.ok(metrics.includes(line), line);
  let own: any[] = [];
  const edgeTo = (module: string) => own.find(({ to }) => to === module)!;
  for (const end = Date.now() + 20_000; own.length < 3 || edgeTo('front').calls === 0; await new Promise((resolve) => setTimeout(resolve, 50))) {
    assert.ok(Date.now() < end, JSON.stringify(own));
    own = (await it.ask('where')).body.system.hosts[0].edges.slice(1);
  }
  assert.deepEqual(shownEdges(own).sort(), [['troubled', 'bus', 'thread', 'open', true], ['troubled', 'front', 'thread', 'open', true], ['troubled', 'gate', 'thread', 'open', true]]);
  // What waits for messages is no latency, and what is asked for this test is no call of the module's.
  assert.ok(edgeTo('front').p99Ms < 1_000 && edgeTo('bus').p99Ms < 1_000 && edgeTo('bus').calls > 5, JSON.stringify(own));
  const asked = it.line('asked')!;
  assert.deepEqual([asked.module, asked.threadId, (asked.err as Error).constructor.name, (asked.err as Error).message], ['troubled', body.threadId, 'RangeError', 'of no consequence']);
  assert.equal((await it.get('readyz')).body.problems.length, 0);
  await it.host.stop(5_000);
  assert.deepEqual(it.lines.filter(({ level }) => level === 'warn' || level === 'error'), []);
});

test('while it blocks its thread for seconds, pages are answered and its calls run into their deadlines', { timeout: 120_000 }, async () => {
  const it = await TroubledHost.start();
  await it.ask('where');
  const blocked = it.ask('block', { ms: 5_000 });
  const until = Date.now() + 5_500;
  await it.pagesUntil(async () => Date.now() > until);
  const { status, ms } = await blocked;
  assert.equal(status, 504);
  assert.ok(ms < 1_000, `${ms} ms`);
  assert.equal((await it.ask('where')).status, 200);
  assert.equal(it.line(BROKEN), undefined, 'a busy thread is left alone');
});

test('what waited for a busy thread beyond its deadline is not done any more', { timeout: 120_000 }, async () => {
  const it = await TroubledHost.start();
  await it.ask('where');
  const asked = [await it.ask('block', { ms: 2_000 }), ...(await Promise.all(Array.from({ length: 20 }, () => it.ask('block', { ms: 100 }))))];
  assert.deepEqual([...new Set(asked.map(({ status }) => status))], [504]);
  // So many calls too late, and it is left alone for a moment.
  await it.pagesUntil(async () => (await it.ask('where')).status === 200);
  assert.match((await it.get('metrics')).body, /^troubled_asked_total 3$/m, 'two questions and the first that blocked');
});

test('answers may be kept in front of a thread', { timeout: 120_000 }, async () => {
  const it = await TroubledHost.start('calls.troubled.cache.entries=10');
  const { now } = (await it.ask('now')).body;
  await it.ask('trouble', { kind: 'exit' });
  await it.pagesUntil(async () => it.line(BROKEN) !== undefined);
  assert.equal((await it.ask('now')).body.now, now);
  await it.answersAgain();
  const [edge] = (await it.ask('where')).body.system.hosts[0].edges;
  assert.deepEqual([edge.cache.hits, edge.cache.misses], [1, 1]);
});

for (const [kind, reason] of [['throw', /nobody caught/], ['throw-nothing', /nobody caught/], ['reject', /nobody caught/], ['exit', /exit code 3/], ['memory', /ran out of memory/]] as const) {
  test(`when it breaks its thread by ${kind}, pages are answered, and it works again on a new one`, { timeout: 120_000 }, async () => {
    const it = await TroubledHost.start();
    const before = (await it.ask('where')).body.threadId;
    assert.match((await it.get('metrics')).body, /^troubled_asked_total 1$/m);
    assert.equal((await it.ask('trouble', { kind })).status, 200);
    let degraded: string[] = [];
    await it.pagesUntil(async () => {
      const { problems } = (await it.get('readyz')).body;
      if (problems.length > 0) degraded = problems;
      return it.line(AGAIN) !== undefined;
    });
    assert.match(degraded.join(), reason);
    await it.answersAgain();
    const { reason: logged, restarts, pauseMs, module } = it.line(BROKEN)!;
    assert.match(logged as string, reason);
    assert.deepEqual([restarts, pauseMs, module], [1, 1_000, 'troubled']);
    const { status, body } = await it.ask('where');
    assert.deepEqual([status, body.threadId > before], [200, true]);
    assert.deepEqual(body.system.hosts[0].modules.at(-1), { name: 'troubled', placement: 'thread', state: 'running', restarts: 1, problem: null });
    assert.match((await it.get('metrics')).body, /^troubled_asked_total 2$/m);
  });
}

test('every message is handled once though the thread breaks again and again', { timeout: 90_000 }, async () => {
  const it = await TroubledHost.start();
  for (const kind of ['throw', 'memory', 'exit']) {
    const broken = it.lines.filter(({ message }) => message === BROKEN).length;
    await Promise.all([it.get('publish?200'), it.pagesUntil(async () => (await it.ask('trouble', { kind })).status === 200)]);
    await it.pagesUntil(async () => it.lines.filter(({ message }) => message === BROKEN).length > broken);
  }
  await it.pagesUntil(async () => Object.keys((await it.ask('marks')).body.marks ?? {}).length === 600, 40_000);
  const { marks } = (await it.ask('marks')).body;
  assert.deepEqual([...new Set(Object.values(marks))], [1]);
});

test('one that has not answered for longer than is allowed is ended and started again', { timeout: 120_000 }, async () => {
  const it = await TroubledHost.start('threads.silentMs=4000');
  void it.ask('block', { ms: 60_000 });
  let said = '';
  await it.pagesUntil(async () => {
    said += (await it.get('readyz')).body.problems.join();
    return it.line(AGAIN) !== undefined;
  });
  assert.match(said, /troubled: has not answered for 3 s/);
  assert.match(it.line(BROKEN)!.reason as string, /did not answer for 4 s/);
  await it.answersAgain();
});

test('a module that cannot start stops the host with its own words, and nothing is left', { timeout: 120_000 }, async () => {
  const it = new TroubledHost('modules.troubled.start=fails');
  const error = await it.host.start().catch((thrown: unknown) => thrown);
  assert.ok(Fault.is(error));
  assert.deepEqual([error.message, error.reason, error.details.remedy], ['There is no coal.', 'no_coal', 'Shovel some.']);
  assert.equal(it.line(BROKEN), undefined);
});

test('a stop ends a thread that is blocked, at the deadline', { timeout: 120_000 }, async () => {
  const it = await TroubledHost.start();
  await it.ask('block', { ms: 30_000, loops: true });
  const began = performance.now();
  await assert.rejects(it.host.stop(3_000), /did not stop in time\.$/);
  assert.ok(performance.now() - began < 10_000, `${performance.now() - began} ms`);
});

