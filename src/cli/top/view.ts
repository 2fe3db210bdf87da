import type { EdgeStatus, HostStatus, SystemStatus } from '../../kernel/system.ts';
import { SYSTEM_WORDS } from '../../app/host/trouble.ts';
import { count } from '../../app/plan/plan-text.ts';
import { age, bytesPerSecond, memory, perSecond, share, took, whole } from './figures.ts';
import { type Connection, connectionsOf, type Reading } from './rates.ts';
import { cell, type Cell, type Column, cutLine, type Line, roomIn, table, type Tone } from './table.ts';
import { columnsOf, cut, harmless, wrapped } from './text.ts';

/** Wider ones leave gaps between names and numbers that the eye cannot cross. */
const MOST_WIDTH = 100;
const HOSTS: readonly Column[] = [
  { title: 'HOSTS', width: 14 },
  { title: 'STATE', width: 11 },
  { title: 'UP', width: 7, right: true, spare: 2 },
  { title: 'MEMORY', width: 8, right: true, spare: 1 },
  { title: 'MODULES', width: 0 },
];
const CALLS: readonly Column[] = [
  { title: 'CALLS', width: 0 },
  { title: 'VIA', width: 6, spare: 3 },
  { title: 'CALLS/S', width: 7, right: true },
  { title: 'P50', width: 7, right: true, spare: 4 },
  { title: 'P99', width: 7, right: true },
  { title: 'FAILED/S', width: 8, right: true },
  { title: 'PENDING', width: 7, right: true, spare: 2 },
  { title: 'CACHE', width: 6, right: true, spare: 1 },
];
const CONNECTIONS: readonly Column[] = [
  { title: 'CONNECTIONS', width: 0 },
  { title: 'VIA', width: 6, spare: 1 },
  { title: 'AT', width: 21, spare: 2 },
  { title: 'STATE', width: 10 },
  { title: 'SENT/S', width: 7, right: true },
  { title: 'GOT/S', width: 7, right: true },
];
const QUEUES: readonly Column[] = [
  { title: 'QUEUES', width: 0 },
  { title: 'READY', width: 6, right: true },
  { title: 'WAITING', width: 7, right: true, spare: 2 },
  { title: 'IN FLIGHT', width: 9, right: true, spare: 1 },
  { title: 'DEAD', width: 5, right: true },
  { title: 'OLDEST', width: 7, right: true },
];

/** The whole picture, `width` characters wide at most. `before`: the reading that bytes a second are counted from. */
export function linesOf(now: Reading, before: Reading | undefined, { clock, ...window }: { readonly width: number; readonly clock: string }): Line[] {
  const width = Math.min(window.width, MOST_WIDTH);
  const { unreachable } = now.status;
  // Whoever was asked comes first in the answer; on the screen everybody keeps their place.
  const hosts = now.status.hosts.toSorted((a, b) => compare(`${a.host} ${a.process}`, `${b.host} ${b.process}`));
  const connections = connectionsOf(now, before);
  const problems = problemsOf(now.status, connections);
  const edges = hosts.flatMap(({ host, edges: own }) => own.map(({ from = host, ...edge }) => ({ ...edge, from })));
  const lines: Line[] = [
    ...headOf(now.status, problems.length, width, clock),
    ...problems.flatMap((problem) => problemLines(problem, width)),
    [],
    ...table(HOSTS, [...hosts.flatMap((host) => hostRows(host, roomIn(HOSTS, width))), ...unreachable.map(({ host, address }) => [cell(host, 'strong'), cell('unreachable', 'bad'), cell(''), cell(''), cell(address ?? '', 'faint')])], width),
    ...section(CALLS, edges.map(callRow), width),
    ...section(CONNECTIONS, connections.map(connectionRow), width),
    ...section(QUEUES, queuesOf(now.status).map((queue) => queueRow(queue, roomIn(QUEUES, width))), width),
  ];
  return lines.map((line) => cutLine(line, width));
}

/** Also for what is wrong with asking. */
export function problemLines(problem: string, width: number): Line[] {
  return wrapped(problem, width - 3, '  ').map((text, at) => [cell(`${at === 0 ? ' !' : '  '} ${text}`, 'bad')]);
}

type Queue = NonNullable<HostStatus['queues']>[number];

/** By name. Of a bus that every host reaches, every host tells of all queues. */
function queuesOf({ hosts }: SystemStatus): Queue[] {
  const named = new Map(hosts.flatMap(({ queues }) => queues ?? []).map((queue) => [queue.name, queue]));
  return [...named.values()].sort((a, b) => compare(a.name, b.name));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** On two lines where one is too short. */
function headOf(status: SystemStatus, problems: number, width: number, clock: string): Line[] {
  const { hosts, unreachable } = status;
  const names = new Set([...hosts, ...unreachable].map(({ host }) => host));
  const away = new Set(unreachable.map(({ host }) => host));
  const modules = new Set(hosts.flatMap(({ modules: own }) => own.map(({ name }) => name)));
  const queues = queuesOf(status);
  const dead = queues.reduce((sum, queue) => sum + queue.dead, 0);
  const paused = queues.filter((queue) => pauseOf(queue) !== '').length;
  const what = away.size > 0 ? `${away.size} of ${count(names.size, 'host')} away` : `${count(names.size, 'host')}, ${count(modules.size, 'module')}`;
  const states = [...(problems > 0 ? [cell(count(problems, 'problem'), 'bad')] : []), ...(dead > 0 ? [cell(count(dead, 'dead message'), 'warn')] : []), ...(paused > 0 ? [cell(count(paused, 'paused queue'), 'warn')] : [])];
  const who = [cell(' Multilith', 'strong'), cell(` · ${what}`)];
  const how = states.length === 0 ? [cell('all well', 'good')] : states.flatMap((state, at) => (at === 0 ? [state] : [cell(', '), state]));
  const left = [...who, cell(' · '), ...how];
  const room = width - left.reduce((sum, { text }) => sum + columnsOf(text), 0);
  if (room < 0) return [who, [cell(' '), ...how]];
  return [clock.length < room ? [...left, cell(clock.padStart(room), 'faint')] : left];
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
  for (const { host, modules } of hosts) for (const { name, problem } of modules) if (problem !== null) tell(`${name} on ${host}`, problem);
  // What several hosts miss, a registry or a cache, is one problem.
  const missed = Map.groupBy(hosts.flatMap(({ host, problems }) => problems.map((problem) => ({ host, problem }))), ({ problem }) => problem);
  for (const [problem, from] of missed) tell([...new Set(from.map(({ host }) => host))].join(', '), problem);
  return [...told.values()];
}

/** The system's codes for people; what has no words here stays. */
function inWords(problem: string): string {
  return problem.replace(/(?:(?:connect|read|write|getaddrinfo) )?\b(E[A-Z]{4,})\b(?: \S+)?\.?$/, (whole, code: string) => (SYSTEM_WORDS[code] === undefined ? whole : `${SYSTEM_WORDS[code]} (${code}).`));
}

/** More than one where the modules need it. */
function hostRows({ host, phase, uptimeSeconds, memoryMb, modules }: HostStatus, room: number): Cell[][] {
  const [first, ...more] = wrapped(modules.map(moduleText).join(', '), room, '');
  const rest = more.map((text) => [...HOSTS.slice(1).map(() => cell('')), cell(text)]);
  return [[cell(host, 'strong'), cell(phase, phase === 'ready' ? 'good' : 'warn'), cell(age(uptimeSeconds)), cell(memory(memoryMb)), cell(first!)], ...rest];
}

function moduleText({ name, placement, state, restarts }: HostStatus['modules'][number]): string {
  const notes = [...(placement === 'thread' ? ['thread'] : []), ...(state === 'running' ? [] : [state]), ...(restarts > 0 ? [count(restarts, 'restart')] : [])];
  return notes.length === 0 ? name : `${name} (${notes.join(', ')})`;
}

function callRow({ from, to, via, callsPerSecond, failedPerSecond, p50Ms, p99Ms, pending, cache }: Omit<EdgeStatus, 'from'> & { readonly from: string }): Cell[] {
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

/** Whether staff hold it back; empty when they do not. */
function pauseOf({ paused, pausedWorkspaces = 0 }: Queue): string {
  if (paused) return ' (paused)';
  return pausedWorkspaces === 0 ? '' : ` (paused for ${count(pausedWorkspaces, 'workspace')})`;
}

/** `room`: for its name, of which is cut what the pause needs. */
function queueRow(queue: Queue, room: number): Cell[] {
  const { ready, waiting, inFlight, dead, oldestMs } = queue;
  const pause = pauseOf(queue);
  const name = `${cut(harmless(queue.name), Math.max(room - pause.length, 1))}${pause}`;
  const tone: Tone = ready + waiting + inFlight + dead === 0 && pause === '' ? 'faint' : 'plain';
  return [cell(name, pause === '' ? tone : 'warn'), cell(whole(ready), tone), cell(whole(waiting), tone), cell(whole(inFlight), tone), cell(whole(dead), dead > 0 ? 'bad' : tone), cell(oldestMs === null ? '-' : age(oldestMs / 1_000), tone)];
}

function section(columns: readonly Column[], rows: readonly (readonly Cell[])[], width: number): Line[] {
  return rows.length === 0 ? [] : [[], ...table(columns, rows, width)];
}
