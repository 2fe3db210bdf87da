import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { age, bytesPerSecond, perSecond, share, took, whole } from '../../../src/cli/top/figures.ts';
import { connectionsOf } from '../../../src/cli/top/rates.ts';
import { plainText, Screen, type TerminalIn, type TerminalOut } from '../../../src/cli/top/screen.ts';
import { cell } from '../../../src/cli/top/table.ts';
import { linesOf } from '../../../src/cli/top/view.ts';
import type { EdgeStatus, HostStatus, SystemStatus } from '../../../src/kernel/system.ts';

const MAILER_AT = '127.0.0.1:7072';

function edge(over: Partial<EdgeStatus> = {}): EdgeStatus {
  return {
    to: 'notification', host: 'mailer', via: 'rpc', callsPerSecond: 12.34, failedPerSecond: 0, p50Ms: 0.42, p99Ms: 3.2, calls: 700, failed: 0, retried: 0, pending: 2,
    replicas: [{ address: MAILER_AT, process: 'b', state: 'open', pending: 2, problem: null, bytesSent: 1_000, bytesReceived: 9_000 }],
    cache: { entries: 9, hits: 90, sharedHits: 5, misses: 5, stale: 0, drops: 1, sharedReachable: null },
    ...over,
  };
}

function host(over: Partial<HostStatus> = {}): HostStatus {
  return {
    host: 'app', process: 'a', address: '127.0.0.1:7071', installation: 'i', phase: 'ready', uptimeSeconds: 130, memoryMb: 112,
    modules: ['portal', 'trigger'].map((name) => ({ name, placement: 'inline', state: 'running', restarts: 0, problem: null })),
    edges: [edge()],
    queues: [{ name: 'notification.send-requested', ready: 12_345, waiting: 1, inFlight: 8, dead: 0, oldestMs: 61_000, paused: false }],
    problems: [],
    ...over,
  };
}

const mailer = host({ host: 'mailer', process: 'b', address: MAILER_AT, edges: [], queues: null, modules: [{ name: 'notification', placement: 'thread', state: 'running', restarts: 2, problem: null }] });
const away: SystemStatus['unreachable'][number] = { host: 'mailer', address: MAILER_AT, problem: `${MAILER_AT}: connect ECONNREFUSED ${MAILER_AT}` };

function shown(status: SystemStatus, before?: SystemStatus, width = 80): string[] {
  const text = plainText(linesOf({ status, atMs: 2_000 }, before && { status: before, atMs: 0 }, { width, clock: '11:52:03' }));
  return text.split('\n');
}

test('two hosts at work, at 80 columns', () => {
  const before = { hosts: [host({ edges: [edge({ replicas: [{ ...edge().replicas[0]!, bytesSent: 0, bytesReceived: 1_000 }] })] }), mailer], unreachable: [] };
  assert.deepEqual(shown({ hosts: [host(), mailer], unreachable: [] }, before), [
    ' Multilith · 2 hosts, 3 modules · all well                              11:52:03',
    '',
    ' HOSTS          STATE            UP   MEMORY MODULES',
    ' app            ready         2 min   112 MB portal, trigger',
    ' mailer         ready         2 min   112 MB notification (thread, 2 restarts)',
    '',
    ' CALLS                    VIA    CALLS/S     P50     P99 FAILED/S PENDING  CACHE',
    ' app → notification       rpc         12  420 µs  3.2 ms        0       2   95 %',
    '',
    ' CONNECTIONS             VIA    AT                    STATE       SENT/S   GOT/S',
    ' app → mailer            rpc    127.0.0.1:7072        open         500 B  4.0 kB',
    '',
    ' QUEUES                                    READY WAITING IN FLIGHT  DEAD  OLDEST',
    ' notification.send-requested                 12k       1         8     0    61 s',
  ]);
});

test('one process by itself has no calls and no connections to show', () => {
  const lines = shown({ hosts: [host({ address: null, edges: [] })], unreachable: [] });
  assert.match(lines[0]!, /1 host, 2 modules · all well/);
  assert.ok(!lines.some((line) => /CALLS|CONNECTIONS/.test(line)));
});

test('what is wrong is said once, in words, and counted', () => {
  const closed = { ...edge().replicas[0]!, state: 'connecting' as const, problem: away.problem };
  const app = host({ edges: [edge({ replicas: [closed] })], problems: [`notification: Host mailer cannot be reached: ${away.problem}`], queues: [{ name: 'q', ready: 0, waiting: 0, inFlight: 0, dead: 3, oldestMs: null, paused: true }] });
  const lines = shown({ hosts: [app], unreachable: [away] });
  assert.deepEqual(lines.slice(0, 3), [
    ' Multilith · 1 of 2 hosts away · 1 problem, 3 dead messages             11:52:03',
    ' ! mailer: 127.0.0.1:7072: nobody listens there (ECONNREFUSED).',
    '',
  ]);
  assert.ok(lines.includes(' mailer         unreachable                  127.0.0.1:7072'));
  assert.ok(lines.some((line) => /^ q \(paused\) +0 +0 +0 +3 +-$/.test(line)));
});

test('modules, replicas and caches that do not work are named', () => {
  const broken = host({
    modules: [{ name: 'trigger', placement: 'thread', state: 'restarting', restarts: 3, problem: 'It ran out of memory.' }],
    edges: [edge({ replicas: [{ ...edge().replicas[0]!, state: 'resting' }], cache: { ...edge().cache!, sharedReachable: false } })],
    problems: ['The queues cannot be read just now.'],
  });
  const text = shown({ hosts: [broken, mailer], unreachable: [{ host: 'other', address: null, problem: 'Host other cannot be reached: no process of it is known.' }] }).join('\n');
  for (const problem of ['! trigger on app: It ran out of memory.', '! app → mailer: 127.0.0.1:7072: its calls failed too often', '! app: The queues cannot be read', '! app → notification: The cache that hosts share', '! other: Host other cannot be reached', 'trigger (thread, restarting, 3', 'restarts)']) assert.ok(text.includes(problem), `${problem}\n${text}`);
  assert.match(text, /1 of 3 hosts away · 5 problems/);
});

test('a queue that several hosts tell of is there once, and its dead messages count once', () => {
  const queues = [{ name: 'q', ready: 1, waiting: 0, inFlight: 0, dead: 2, oldestMs: 10, paused: false }];
  const lines = shown({ hosts: [host({ queues }), host({ host: 'other', process: 'o', queues })], unreachable: [] });
  assert.match(lines[0]!, /2 dead messages/);
  assert.equal(lines.filter((line) => line.startsWith(' q ')).length, 1);
});

test('modules that do not fit in a line go on in the next', () => {
  const modules = ['portal', 'trigger', 'notification'].map((name) => ({ name, placement: 'thread' as const, state: 'running' as const, restarts: 0, problem: null }));
  assert.deepEqual(shown({ hosts: [host({ modules, edges: [], queues: null })], unreachable: [] }).slice(3, 5), [
    ' app            ready         2 min   112 MB portal (thread), trigger (thread),',
    '                                             notification (thread)',
  ]);
});

test('no line is wider than the window, whatever is in it', () => {
  const long = 'x'.repeat(200);
  const status = { hosts: [host({ host: long.slice(0, 40), modules: [{ ...host().modules[0]!, problem: `${long} and on and on ${long}` }], edges: [edge({ callsPerSecond: 123_456_789, p99Ms: 69_000, pending: 1e9, failedPerSecond: 99_999 })], queues: [{ name: long, ready: 1e9, waiting: 1e9, inFlight: 1e9, dead: 1e9, oldestMs: 1e13, paused: true }] })], unreachable: [away] };
  for (const width of [80, 100, 120]) for (const line of shown(status, undefined, width)) assert.ok([...line].length <= Math.min(width, 100), `${width}: ${[...line].length} ${line}`);
});

test('bytes a second come from two readings of the same process; connections that edges share are there once', () => {
  const at = (bytesSent: number, process = 'a') => ({ hosts: [host({ process, edges: [edge({ replicas: [{ ...edge().replicas[0]!, bytesSent }] }), edge({ to: 'bus', replicas: [{ ...edge().replicas[0]!, bytesSent }] })] })], unreachable: [] });
  const sent = (now: SystemStatus, before?: SystemStatus) => connectionsOf({ status: now, atMs: 3_000 }, before && { status: before, atMs: 1_000 }).map(({ sentPerSecond }) => sentPerSecond);
  assert.deepEqual(sent(at(5_000), at(1_000)), [2_000]);
  assert.deepEqual(sent(at(5_000)), [null]);
  assert.deepEqual(sent(at(5_000), at(9_000)), [null]);
  assert.deepEqual(sent(at(5_000), at(1_000, 'before the restart')), [null]);
});

test('figures fit their columns and say what they are', () => {
  assert.deepEqual([0, 0.004, 0.25, 3.21, 42.6, 12_345, 2_500_000].map(perSecond), ['0', '<0.01', '0.25', '3.2', '43', '12k', '2.5M']);
  assert.deepEqual([null, 0.0012, 0.9999, 1.26, 42.4, 999.9, 69_000].map(took), ['-', '1 µs', '1.0 ms', '1.3 ms', '42 ms', '1.0 s', '69.0 s']);
  assert.deepEqual([null, 0, 999.9, 1_234, 99_500, 1_234_567].map(bytesPerSecond), ['-', '0 B', '1.0 kB', '1.2 kB', '100 kB', '1.2 MB']);
  assert.deepEqual([0, 9_999, 10_000, 999_499, 999_500].map(whole), ['0', '9999', '10k', '999k', '1.0M']);
  assert.deepEqual([0.2, 99, 100, 6_000, 180_000].map(age), ['<1 s', '99 s', '1 min', '1 h', '2 d']);
  assert.deepEqual([share(0, 0), share(999, 1_000), share(1, 1)], ['-', '99 %', '100 %']);
});

class Keyboard extends EventEmitter {
  isTTY = true;
  raw = false;
  setRawMode = (raw: boolean) => ((this.raw = raw), this);
  pause = () => this;
  resume = () => this;
}
class Window extends EventEmitter {
  isTTY = true;
  columns = 80;
  rows = 4;
  text = '';
  write = (text: string) => ((this.text += text), true);
}

function screenOn(): { keyboard: Keyboard; window: Window; screen: Screen } {
  const [keyboard, window] = [new Keyboard(), new Window()];
  return { keyboard, window, screen: new Screen(keyboard as unknown as TerminalIn, window as unknown as TerminalOut, true) };
}

test('the terminal is given back as it was, by q, Ctrl-C and signals', () => {
  for (const end of [(keyboard: Keyboard) => keyboard.emit('data', Buffer.from('q')), (keyboard: Keyboard) => keyboard.emit('data', Buffer.from('\u0003')), () => process.emit('SIGTERM')]) {
    const { keyboard, window, screen } = screenOn();
    const before = process.listenerCount('SIGTERM');
    screen.open(() => {});
    assert.ok(keyboard.raw && window.text.startsWith('\x1b[?1049h'));
    assert.equal(screen.closed.aborted, false);
    end(keyboard);
    assert.equal(screen.closed.aborted, true);
    screen.close();
    assert.ok(!keyboard.raw && window.text.endsWith('\x1b[?1049l'));
    assert.deepEqual([keyboard.listenerCount('data'), window.listenerCount('resize'), process.listenerCount('SIGTERM')], [0, 0, before]);
  }
});

test('a window that is too low says how much it leaves out, and is drawn anew when it grows', () => {
  const { window, screen } = screenOn();
  const lines = ['a', 'b', 'c', 'd', 'e'].map((text) => [cell(text, 'bad')]);
  let drawn = 0;
  screen.open(() => drawn++);
  screen.draw(lines);
  assert.match(window.text, /a\x1b.*\r\n.*b\x1b.*\r\n.*c\x1b.*\r\n.*2 more lines/);
  window.emit('resize');
  assert.equal(drawn, 1);
  window.rows = 5;
  window.text = '';
  screen.draw(lines);
  assert.ok(window.text.includes('e') && !window.text.includes('more'));
  screen.close();
});
