import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { requireConfig } from '../../../../src/app/config/config.ts';
import type { HostLog } from '../../../../src/app/host/log.ts';
import { Host } from '../../../../src/app/host/host.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import type { Log } from '../../../../src/kernel/telemetry.ts';
import { troubledParts } from '../../../support/troubled.ts';

const root = mkdtempSync(join(tmpdir(), 'multilith-thread-'));
after(() => rmSync(root, { recursive: true, force: true }));
const running: Host[] = [];
afterEach(async () => {
  await Promise.allSettled(running.splice(0).map((host) => host.stop(5_000)));
});

interface Line {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

class Running {
  readonly host: Host;
  readonly dataDir = mkdtempSync(join(root, 'data-'));
  readonly lines: Line[] = [];

  constructor(...sets: string[]) {
    const all = ['hosts.app.modules=[front, troubled]', 'calls.troubled.via=thread', 'threads.heapMb=64', 'http.listen=127.0.0.1:0', 'publicUrl=http://127.0.0.1', `data=${this.dataDir}`, ...sets];
    const { config } = requireConfig({ topology: 'default', env: {}, cwd: root, sets: all }, troubledParts);
    this.host = new Host(config, 'app', troubledParts, this.#log());
    running.push(this.host);
  }

  static async start(...sets: string[]): Promise<Running> {
    const made = new Running(...sets);
    await made.host.start();
    return made;
  }

  async get(path: string): Promise<{ readonly status: number; readonly body: any; readonly ms: number }> {
    const began = performance.now();
    const response = await fetch(`${this.host.localUrl}/${path}`);
    const text = await response.text();
    return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : text, ms: performance.now() - began };
  }

  ask(method: string, request: object = {}) {
    return this.get(`${method}?${encodeURIComponent(JSON.stringify(request))}`);
  }

  /** Asks until the module answers: one that has just been started may take longer than a caller waits. */
  async answered(method: string): ReturnType<Running['get']> {
    let answer = await this.ask(method);
    await this.pagesUntil(async () => answer.status === 200 || (answer = await this.ask(method)).status === 200);
    return answer;
  }

  /** Asks for pages until `done`, and insists that they are answered, promptly. */
  async pagesUntil(done: () => Promise<boolean>, withinMs = 40_000): Promise<void> {
    const times: number[] = [];
    for (const until = Date.now() + withinMs; !(await done()); ) {
      assert.ok(Date.now() < until, `not in ${withinMs} ms; the log: ${JSON.stringify(this.lines.slice(-5))}`);
      for (const path of ['livez', 'page', 'readyz']) {
        const { status, ms } = await this.get(path);
        assert.equal(status, 200, path);
        times.push(ms);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    // A machine with other things to do delays some.
    const [usual, longest] = [times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.9)] ?? 0, Math.max(...times, 0)];
    assert.ok(usual < PROMPT_MS && longest < 10 * PROMPT_MS, `nine in ten within ${usual} ms, the longest ${longest} ms`);
  }

  line(message: string): Line | undefined {
    return this.lines.find((line) => line.message === message);
  }

  #log(): HostLog {
    const at = (level: string, always: object) => (fields: object, message: string) => void this.lines.push({ level, message, ...always, ...fields });
    const withFields = (always: object): Log => ({ debug: at('debug', always), info: at('info', always), warn: at('warn', always), error: at('error', always), child: (fields) => withFields({ ...always, ...fields }) });
    return { ...withFields({}), flush() {} };
  }
}

const BROKEN = 'the thread of a module has ended; it is started again';
const AGAIN = 'the module runs again on a new thread';
const PROMPT_MS = 200;

test('a module on a thread is called, calls, stores, handles messages, logs and is measured as within the main thread', { timeout: 120_000 }, async () => {
  const it = await Running.start();
  const { status, body } = await it.ask('where');
  assert.equal(status, 200);
  assert.deepEqual([body.threadId > 0, body.greeting], [true, 'hello thread']);
  const [{ modules, edges }] = body.system.hosts;
  assert.deepEqual(modules.map(({ name, placement, restarts, problem }: any) => [name, placement, restarts, problem]), [['front', 'inline', 0, null], ['troubled', 'thread', 0, null]]);
  const shownEdges = (all: any[]) => all.map(({ from, to, via, replicas }) => [from, to, via, replicas[0].state, replicas[0].bytesSent > 0]);
  assert.deepEqual(shownEdges(edges)[0], [undefined, 'troubled', 'thread', 'open', true]);
  await it.get('publish?50');
  await it.pagesUntil(async () => Object.keys((await it.ask('marks')).body.marks).length === 50);
  const { body: metrics } = await it.get('metrics');
  for (const line of ['multilith_edge_calls_total{from="troubled",to="front",host="app",via="thread"} 1', 'multilith_edge_pending{from="troubled",to="bus",host="app",via="thread"} 1', 'troubled_asked_total 1', 'message_handling_seconds_count{queue="troubled.mark",outcome="done"} 50', 'multilith_thread_eventloop_lag_p99_seconds{module="troubled"}', 'process_start_time_seconds']) assert.ok(metrics.includes(line), line);
  let own: any[] = [];
  const edgeTo = (module: string) => own.find(({ to }) => to === module)!;
  for (const end = Date.now() + 20_000; own.length < 2 || edgeTo('front').calls === 0; await new Promise((resolve) => setTimeout(resolve, 50))) {
    assert.ok(Date.now() < end, JSON.stringify(own));
    own = (await it.ask('where')).body.system.hosts[0].edges.slice(1);
  }
  assert.deepEqual(shownEdges(own).sort(), [['troubled', 'bus', 'thread', 'open', true], ['troubled', 'front', 'thread', 'open', true]]);
  // What waits for messages is no latency, and what is asked for this test is no call of the module's.
  assert.ok(edgeTo('front').p99Ms < 1_000 && edgeTo('bus').p99Ms < 1_000 && edgeTo('bus').calls > 5, JSON.stringify(own));
  const asked = it.line('asked')!;
  assert.deepEqual([asked.module, asked.threadId, (asked.err as Error).constructor.name, (asked.err as Error).message], ['troubled', body.threadId, 'RangeError', 'of no consequence']);
  assert.equal((await it.get('readyz')).body.problems.length, 0);
  await it.host.stop(5_000);
  assert.deepEqual(it.lines.filter(({ level }) => level === 'warn' || level === 'error'), []);
});

test('while it blocks its thread for seconds, pages are answered and its calls run into their deadlines', { timeout: 120_000 }, async () => {
  const it = await Running.start();
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

test('answers may be kept in front of a thread', { timeout: 120_000 }, async () => {
  const it = await Running.start('calls.troubled.cache.entries=10');
  const { now } = (await it.ask('now')).body;
  await it.ask('trouble', { kind: 'exit' });
  await it.pagesUntil(async () => it.line(BROKEN) !== undefined);
  assert.equal((await it.ask('now')).body.now, now);
  const [edge] = (await it.answered('where')).body.system.hosts[0].edges;
  assert.deepEqual([edge.cache.hits, edge.cache.misses], [1, 1]);
});

for (const [kind, reason] of [['throw', /nobody caught/], ['reject', /nobody caught/], ['exit', /exit code 3/], ['memory', /ran out of memory/]] as const) {
  test(`when it breaks its thread by ${kind}, pages are answered, and it works again on a new one`, { timeout: 120_000 }, async () => {
    const it = await Running.start();
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
    const { reason: logged, restarts, pauseMs, module } = it.line(BROKEN)!;
    assert.match(logged as string, reason);
    assert.deepEqual([restarts, pauseMs, module], [1, 1_000, 'troubled']);
    const { body } = await it.answered('where');
    assert.ok(body.threadId > before);
    assert.deepEqual(body.system.hosts[0].modules[1], { name: 'troubled', placement: 'thread', state: 'running', restarts: 1, problem: null });
    assert.match((await it.get('metrics')).body, /^troubled_asked_total 2$/m);
  });
}

test('every message is handled once though the thread breaks again and again', { timeout: 90_000 }, async () => {
  const it = await Running.start();
  for (const kind of ['throw', 'memory', 'exit']) {
    const broken = it.lines.filter(({ message }) => message === BROKEN).length;
    await Promise.all([it.get('publish?200'), it.ask('trouble', { kind })]);
    await it.pagesUntil(async () => it.lines.filter(({ message }) => message === BROKEN).length > broken);
  }
  await it.pagesUntil(async () => Object.keys((await it.ask('marks')).body.marks ?? {}).length === 600, 40_000);
  const { marks } = (await it.ask('marks')).body;
  assert.deepEqual([...new Set(Object.values(marks))], [1]);
});

test('one that has not answered for longer than is allowed is ended and started again', { timeout: 120_000 }, async () => {
  const it = await Running.start('threads.silentMs=4000');
  void it.ask('block', { ms: 60_000 });
  let said = '';
  await it.pagesUntil(async () => {
    said += (await it.get('readyz')).body.problems.join();
    return it.line(AGAIN) !== undefined;
  });
  assert.match(said, /troubled: has not answered for 3 s/);
  assert.match(it.line(BROKEN)!.reason as string, /did not answer for 4 s/);
  await it.answered('where');
});

test('a module that cannot start stops the host with its own words, and nothing is left', { timeout: 120_000 }, async () => {
  const it = new Running('modules.troubled.fails=true');
  const error = await it.host.start().catch((thrown: unknown) => thrown);
  assert.ok(Fault.is(error));
  assert.deepEqual([error.message, error.reason, error.details.remedy], ['There is no coal.', 'no_coal', 'Shovel some.']);
  assert.equal(it.line(BROKEN), undefined);
});

test('a stop ends a thread that is blocked, at the deadline', { timeout: 120_000 }, async () => {
  const it = await Running.start();
  await it.ask('block', { ms: 30_000 });
  const began = performance.now();
  await assert.rejects(it.host.stop(3_000), /did not stop/);
  assert.ok(performance.now() - began < 4_000, `${performance.now() - began} ms`);
});

