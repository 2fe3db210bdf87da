import type { EdgeStatus, HostStatus, SystemStatus } from '../../kernel/system.ts';
import { count } from '../../app/plan/plan-text.ts';
import { age, bytesPerSecond, perSecond, share, took, whole } from './figures.ts';
import { type Connection, connectionsOf, type Reading } from './rates.ts';
import { cell, type Cell, type Column, type Line, roomIn, table, type Tone, wrapped } from './table.ts';

/** Wider ones leave gaps between names and numbers that the eye cannot cross. */
const MOST_WIDTH = 100;
const HOSTS: readonly Column[] = [
  { title: 'HOSTS', width: 14 },
  { title: 'STATE', width: 11 },
  { title: 'UP', width: 7, right: true },
  { title: 'MEMORY', width: 8, right: true },
  { title: 'MODULES', width: 0 },
];
const CALLS: readonly Column[] = [
  { title: 'CALLS', width: 0 },
  { title: 'VIA', width: 6 },
  { title: 'CALLS/S', width: 7, right: true },
  { title: 'P50', width: 7, right: true },
  { title: 'P99', width: 7, right: true },
  { title: 'FAILED/S', width: 8, right: true },
  { title: 'PENDING', width: 7, right: true },
  { title: 'CACHE', width: 6, right: true },
];
const CONNECTIONS: readonly Column[] = [
  { title: 'CONNECTIONS', width: 0 },
  { title: 'VIA', width: 6 },
  { title: 'AT', width: 21 },
  { title: 'STATE', width: 10 },
  { title: 'SENT/S', width: 7, right: true },
  { title: 'GOT/S', width: 7, right: true },
];
const QUEUES: readonly Column[] = [
  { title: 'QUEUES', width: 0 },
  { title: 'READY', width: 6, right: true },
  { title: 'WAITING', width: 7, right: true },
  { title: 'IN FLIGHT', width: 9, right: true },
  { title: 'DEAD', width: 5, right: true },
  { title: 'OLDEST', width: 7, right: true },
];

/** The whole picture, `width` characters wide at most. `before`: the reading that bytes a second are counted from. */
export function linesOf(now: Reading, before: Reading | undefined, { clock, ...window }: { readonly width: number; readonly clock: string }): Line[] {
  const width = Math.min(window.width, MOST_WIDTH);
  const { hosts, unreachable } = now.status;
  const connections = connectionsOf(now, before);
  const problems = problemsOf(now.status, connections);
  const edges = hosts.flatMap(({ host, edges: own }) => own.map((edge) => ({ from: host, ...edge })));
  return [
    headOf(now.status, problems.length, width, clock),
    ...problems.flatMap((problem) => wrapped(problem, width - 3, '  ').map((text, at) => [cell(`${at === 0 ? ' !' : '  '} ${text}`, 'bad')])),
    [],
    ...table(HOSTS, [...hosts.flatMap((host) => hostRows(host, roomIn(HOSTS, width))), ...unreachable.map(({ host, address }) => [cell(host, 'strong'), cell('unreachable', 'bad'), cell(''), cell(''), cell(address ?? '', 'faint')])], width),
    ...section(CALLS, edges.map(callRow), width),
    ...section(CONNECTIONS, connections.map(connectionRow), width),
    ...section(QUEUES, queuesOf(now.status).map(queueRow), width),
  ];
}

type Queue = NonNullable<HostStatus['queues']>[number];

/** By name. Of a bus that every host reaches, every host tells of all queues. */
function queuesOf({ hosts }: SystemStatus): Queue[] {
  const named = new Map(hosts.flatMap(({ queues }) => queues ?? []).map((queue) => [queue.name, queue]));
  return [...named.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function headOf(status: SystemStatus, problems: number, width: number, clock: string): Line {
  const { hosts, unreachable } = status;
  const names = new Set([...hosts, ...unreachable].map(({ host }) => host));
  const away = new Set(unreachable.map(({ host }) => host));
  const modules = new Set(hosts.flatMap(({ modules: own }) => own.map(({ name }) => name)));
  const dead = queuesOf(status).reduce((sum, queue) => sum + queue.dead, 0);
  const what = away.size > 0 ? `${away.size} of ${count(names.size, 'host')} away` : `${count(names.size, 'host')}, ${count(modules.size, 'module')}`;
  const states = [...(problems > 0 ? [cell(count(problems, 'problem'), 'bad')] : []), ...(dead > 0 ? [cell(count(dead, 'dead message'), 'warn')] : [])];
  const left = [cell(' Multilith', 'strong'), cell(` · ${what} · `), ...(states.length === 0 ? [cell('all well', 'good')] : states.flatMap((state, at) => (at === 0 ? [state] : [cell(', '), state])))];
  const room = width - left.reduce((sum, { text }) => sum + text.length, 0);
  return clock.length < room ? [...left, cell(clock.padStart(room), 'faint')] : left;
}

/** In words, each said once: who cannot be reached, which connections do not work, then what hosts say of themselves. */
function problemsOf({ hosts, unreachable }: SystemStatus, connections: readonly Connection[]): string[] {
  const told = new Map<string, string>();
  // Whoever calls a host that is away says of it, in its own words, what the connection says.
  const tell = (where: string, what: string) => {
    if (![...told.keys()].some((other) => what.endsWith(other))) told.set(what, `${where}: ${inWords(what)}`);
  };
  for (const { host, address, problem } of unreachable) tell(host, address === null || problem.includes(address) ? problem : `${address}: ${problem}`);
  for (const { from, to, address, state, problem } of connections) {
    if (problem !== null) tell(`${from} → ${to}`, problem.includes(address) ? problem : `${address}: ${problem}`);
    else if (state === 'resting') tell(`${from} → ${to}`, `${address}: its calls failed too often; it is tried again soon.`);
  }
  for (const { host, problems, modules, edges } of hosts) {
    for (const { name, problem } of modules) if (problem !== null) tell(`${name} on ${host}`, problem);
    for (const problem of problems) tell(host, problem);
    for (const { to, cache } of edges) if (cache?.sharedReachable === false) tell(`${host} → ${to}`, 'The cache that hosts share does not answer; calls go to the module instead.');
  }
  return [...told.values()];
}

const SYSTEM_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the connection was cut',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'there is no way to that machine',
  ENETUNREACH: 'there is no way to that network',
  ENOTFOUND: 'the name is not known',
};

/** The system's codes for people; what has no words here stays. */
function inWords(problem: string): string {
  return problem.replace(/(?:(?:connect|read|write|getaddrinfo) )?\b(E[A-Z]{4,})\b(?: \S+)?\.?$/, (whole, code: string) => (SYSTEM_WORDS[code] === undefined ? whole : `${SYSTEM_WORDS[code]} (${code}).`));
}

/** More than one where the modules need it. */
function hostRows({ host, phase, uptimeSeconds, memoryMb, modules }: HostStatus, room: number): Cell[][] {
  const [first, ...more] = wrapped(modules.map(moduleText).join(', '), room, '');
  const rest = more.map((text) => [...HOSTS.slice(1).map(() => cell('')), cell(text)]);
  return [[cell(host, 'strong'), cell(phase, phase === 'ready' ? 'good' : 'warn'), cell(age(uptimeSeconds)), cell(`${memoryMb} MB`), cell(first!)], ...rest];
}

function moduleText({ name, placement, state, restarts }: HostStatus['modules'][number]): string {
  const notes = [...(placement === 'thread' ? ['thread'] : []), ...(state === 'running' ? [] : [state]), ...(restarts > 0 ? [count(restarts, 'restart')] : [])];
  return notes.length === 0 ? name : `${name} (${notes.join(', ')})`;
}

function callRow({ from, to, via, callsPerSecond, failedPerSecond, p50Ms, p99Ms, pending, cache }: EdgeStatus & { readonly from: string }): Cell[] {
  const tone: Tone = callsPerSecond === 0 ? 'faint' : 'plain';
  return [cell(`${from} → ${to}`), cell(via, 'faint'), cell(perSecond(callsPerSecond), tone), cell(took(p50Ms), tone), cell(took(p99Ms), tone), cell(perSecond(failedPerSecond), failedPerSecond > 0 ? 'bad' : tone), cell(whole(pending), tone), cell(cacheText(cache), cache?.sharedReachable === false ? 'warn' : 'plain')];
}

/** The share of answers that needed no call since the start. */
function cacheText(cache: EdgeStatus['cache']): string {
  if (cache === null) return '';
  const kept = cache.hits + cache.sharedHits + cache.stale;
  return share(kept, kept + cache.misses);
}

function connectionRow({ from, to, via, address, state, sentPerSecond, receivedPerSecond }: Connection): Cell[] {
  return [cell(`${from} → ${to}`), cell(via, 'faint'), cell(address, 'faint'), cell(state, state === 'open' ? 'good' : state === 'leaving' ? 'warn' : 'bad'), cell(bytesPerSecond(sentPerSecond)), cell(bytesPerSecond(receivedPerSecond))];
}

function queueRow({ name, ready, waiting, inFlight, dead, oldestMs, paused }: Queue): Cell[] {
  const tone: Tone = ready + waiting + inFlight + dead === 0 && !paused ? 'faint' : 'plain';
  return [cell(paused ? `${name} (paused)` : name, paused ? 'warn' : tone), cell(whole(ready), tone), cell(whole(waiting), tone), cell(whole(inFlight), tone), cell(whole(dead), dead > 0 ? 'bad' : tone), cell(oldestMs === null ? '-' : age(oldestMs / 1_000), tone)];
}

function section(columns: readonly Column[], rows: readonly (readonly Cell[])[], width: number): Line[] {
  return rows.length === 0 ? [] : [[], ...table(columns, rows, width)];
}
