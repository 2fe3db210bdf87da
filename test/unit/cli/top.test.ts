import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { age, bytesPerSecond, memory, perSecond, share, took, whole } from '../../../src/cli/top/figures.ts';
import { connectionsOf } from '../../../src/cli/top/rates.ts';
import { plainText, Screen, type TerminalIn, type TerminalOut } from '../../../src/cli/top/screen.ts';
import { cell } from '../../../src/cli/top/table.ts';
import { columnsOf, cut, wrapped } from '../../../src/cli/top/text.ts';
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
    ' Multilith · 1 of 2 hosts away · 1 problem, 3 dead messages, 1 paused queue',
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
    problems: ['The queues cannot be read just now.', 'cache memcached: memcached at 127.0.0.1:11211 does not answer.'],
  });
  const text = shown({ hosts: [broken, mailer], unreachable: [{ host: 'other', address: null, problem: 'Host other cannot be reached: no process of it is known.' }] }).join('\n');
  for (const problem of ['! trigger on app: It ran out of memory.', '! app → mailer: 127.0.0.1:7072: its calls failed too often', '! app: The queues cannot be read', '! app: cache memcached: memcached at 127.0.0.1:11211 does not answer.', '! other: Host other cannot be reached', 'trigger (thread, restarting, 3', 'restarts)']) assert.ok(text.includes(problem), `${problem}\n${text}`);
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

test('what several hosts miss is one problem, and names them', () => {
  const problems = ['registry: zookeeper does not answer.'];
  const lines = shown({ hosts: [host({ problems }), { ...mailer, problems }], unreachable: [] });
  assert.match(lines[0]!, /1 problem /);
  assert.equal(lines[1], ' ! app, mailer: registry: zookeeper does not answer.');
});

test('hosts keep their places, whoever was asked', () => {
  const rows = (hosts: HostStatus[]) => shown({ hosts, unreachable: [] }).filter((line) => /^ (app|mailer) /.test(line) && !line.includes('→'));
  assert.deepEqual(rows([mailer, host()]), rows([host(), mailer]));
});

test('a queue that is paused is named in the head, for one workspace too, and never loses that to a long name', () => {
  const queue = { name: 'notification.send-requested', ready: 0, waiting: 0, inFlight: 0, dead: 0, oldestMs: null, paused: false, pausedWorkspaces: 0 };
  const of = (over: Partial<typeof queue>, width = 80) => shown({ hosts: [host({ edges: [], queues: [{ ...queue, ...over }] })], unreachable: [] }, undefined, width).join('\n');
  assert.match(of({}), /all well/);
  assert.match(of({ paused: true }), /· 1 paused queue[^]*notification\.send-requested \(paused\) /);
  assert.match(of({ pausedWorkspaces: 1 }), /· 1 paused queue[^]*notification\.s… \(paused for 1 workspace\) /);
  assert.match(of({ paused: true }, 40), /^ notifica… \(paused\) +0 /m);
});

test('the calls of a module on a thread are its own, over a connection of its own', () => {
  const own = edge({ from: 'notification', to: 'bus', host: 'app', via: 'thread', cache: null, replicas: [{ ...edge().replicas[0]!, address: 'main thread' }] });
  const lines = shown({ hosts: [host({ edges: [own, { ...own, to: 'portal' }] })], unreachable: [] });
  for (const row of [/^ notification → bus +thread +12 /, /^ notification → portal +thread +12 /, /^ notification → app +thread main thread +open /]) assert.equal(lines.filter((line) => row.test(line)).length, 1, `${row}\n${lines.join('\n')}`);
});

test('at 40 columns names stay readable, and the figures that matter least are left out', () => {
  assert.deepEqual(shown({ hosts: [host(), { ...mailer, problems: ['cache memcached: memcached does not answer.'] }], unreachable: [] }, undefined, 40), [
    ' Multilith · 2 hosts, 3 modules',
    ' 1 problem',
    ' ! mailer: cache memcached: memcached',
    '     does not answer.',
    '',
    ' HOSTS          STATE       MODULES',
    ' app            ready       portal,',
    '                            trigger',
    ' mailer         ready       notification',
    '                            (thread, 2',
    '                            restarts)',
    '',
    ' CALLS          CALLS/S     P99 FAILED/S',
    ' app → notific…      12  3.2 ms        0',
    '',
    ' CONNECTIONS  STATE       SENT/S   GOT/S',
    ' app → mailer open             -       -',
    '',
    ' QUEUES              READY  DEAD  OLDEST',
    ' notification.send…    12k     0    61 s',
  ]);
});

test('no line is wider than the window, whatever is in it and however narrow it is', () => {
  const long = 'x'.repeat(200);
  for (const name of [long, '郵便'.repeat(50), '👩‍👩‍👧'.repeat(50), 'e\u0301'.repeat(200)]) {
    const status = { hosts: [host({ host: name.slice(0, 40), modules: [{ ...host().modules[0]!, problem: `${name} and on and on ${name}` }], edges: [edge({ callsPerSecond: 123_456_789, p99Ms: 69_000, pending: 1e9, failedPerSecond: 99_999 })], queues: [{ name, ready: 1e12, waiting: 1e9, inFlight: 1e9, dead: 1e9, oldestMs: 1e13, paused: true }], memoryMb: 1_234_567 })], unreachable: [away] };
    for (const width of [1, 10, 20, 40, 60, 80, 100, 120]) for (const line of shown(status, undefined, width)) assert.ok(columnsOf(line) <= Math.min(width, 100), `${width}: ${columnsOf(line)} ${line}`);
  }
});

test('names in wide characters leave the columns where they are', () => {
  const lines = shown({ hosts: [host({ host: '東京', edges: [], queues: null }), host({ host: 'app', process: 'b', edges: [], queues: null })], unreachable: [] });
  assert.ok(lines.includes(' app            ready         2 min   112 MB portal, trigger'));
  assert.ok(lines.includes(' 東京           ready         2 min   112 MB portal, trigger'));
  assert.deepEqual(['abc', '東京', 'e\u0301', '👩‍👩‍👧', 'ﾊﾝｶｸ', '→'].map(columnsOf), [3, 4, 1, 2, 4, 1]);
  assert.deepEqual([cut('東京都', 6), cut('東京都', 5), cut('東京都', 4)], ['東京都', '東京…', '東…']);
});

test('a problem is told whole, over as many lines as it needs', () => {
  assert.deepEqual(wrapped(`one ${'y'.repeat(14)}\ntwo`, 10, '  '), ['one', '  yyyyyyyy', '  yyyyyy', '  two']);
});

test('what comes from elsewhere does not steer the terminal', () => {
  const text = shown({ hosts: [host({ problems: ['\x1b]0;owned\x07 \x1b[2J \u202e \r gone'] })], unreachable: [] }).join('\n');
  assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
  assert.match(text, /owned/);
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
  assert.deepEqual([0, 0.004, 0.25, 0.999, 3.21, 9.96, 42.6, 12_345, 2_500_000, 2.5e9].map(perSecond), ['0', '<0.01', '0.25', '1.0', '3.2', '10', '43', '12k', '2.5M', '2.5G']);
  assert.deepEqual([null, 0.0012, 0.9999, 1.26, 42.4, 999.9, 69_000].map(took), ['-', '1 µs', '1.0 ms', '1.3 ms', '42 ms', '1.0 s', '69.0 s']);
  assert.deepEqual([null, 0, 999.9, 1_234, 99_500, 1_234_567, 1.25e9].map(bytesPerSecond), ['-', '0 B', '1.0 kB', '1.2 kB', '100 kB', '1.2 MB', '1.3 GB']);
  assert.deepEqual([112, 9_999, 123_456].map(memory), ['112 MB', '9999 MB', '123 GB']);
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

test('the terminal is given back as it was, by q, Ctrl-C, signals, and when it has gone', () => {
  const ends: ((keyboard: Keyboard, window: Window) => unknown)[] = [
    (keyboard) => keyboard.emit('data', Buffer.from('q')),
    (keyboard) => keyboard.emit('data', Buffer.from('\u0003')),
    () => process.emit('SIGTERM'),
    // The terminal has gone away.
    (keyboard) => keyboard.emit('end'),
    (keyboard) => keyboard.emit('error', new Error('EIO')),
    (_, window) => window.emit('error', new Error('EIO')),
  ];
  for (const end of ends) {
    const { keyboard, window, screen } = screenOn();
    const before = process.listenerCount('SIGTERM');
    const exits = process.listenerCount('exit');
    screen.open(() => {});
    assert.ok(keyboard.raw && window.text.startsWith('\x1b[?1049h'));
    assert.equal(screen.closed.aborted, false);
    end(keyboard, window);
    assert.equal(screen.closed.aborted, true);
    screen.close();
    assert.ok(!keyboard.raw && window.text.endsWith('\x1b[?1049l'));
    assert.deepEqual([keyboard.listenerCount('data'), window.listenerCount('resize'), process.listenerCount('SIGTERM')], [0, 0, before]);
    assert.equal(process.listenerCount('exit'), exits);
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
