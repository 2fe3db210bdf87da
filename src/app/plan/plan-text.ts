import { formatProblem } from '../config/problem.ts';
import type { Plan, PlannedEdge, PlannedMessage } from './plan.ts';

/** A plan as a person reads it. */
export function planText(plan: Plan): string {
  const { hosts, modules, calls, messages, findings } = plan;
  return [
    `Topology ${plan.topology}: ${count(hosts.length, 'host')}, ${count(modules.length, 'module')}`,
    '',
    'Hosts',
    ...columns(hosts.map(({ name, modules: own, addresses, replicas, keepsMessages }) => [name, own.join(', '), addresses.length === 0 ? '' : `at ${addresses.join(', ')}`, replicas > 1 ? `${replicas} replicas` : '', hosts.length > 1 && keepsMessages ? 'keeps the messages' : ''])),
    '',
    'Modules',
    ...columns(modules.map(({ name, host, storage, contract, operations }) => [name, `on ${host}`, `stores in ${storage}`, `contract ${contract}`, count(operations, 'operation')])),
    '',
    'Calls',
    ...orNone(columns(calls.map(callRow))),
    '',
    'Messages',
    ...orNone(columns(messages.map(messageRow))),
    '',
    'Drivers',
    ...columns(driverRows(plan)),
    '',
    findings.length === 0 ? 'Nothing is wrong with it.' : 'What is wrong',
    ...findings.map((finding) => `  ${formatProblem(finding)}`),
  ].join('\n');
}

function callRow({ from, to, via, crossesHosts, cacheEntries, cacheShared, operations }: PlannedEdge): string[] {
  const timeouts = operations.map(({ timeoutMs }) => timeoutMs);
  const [least, most] = [Math.min(...timeouts), Math.max(...timeouts)];
  const cacheable = operations.filter(({ cacheTtlMs }) => cacheTtlMs !== null).length;
  return [
    `${from} → ${to}`,
    crossesHosts ? `${via}, to another host` : via,
    `${count(operations.length, 'operation')}, deadline ${least === most ? ms(least) : `${ms(least)} to ${ms(most)}`}`,
    cacheEntries === null ? 'no cache' : `cache of ${cacheEntries} answers for ${count(cacheable, 'query', 'queries')}${cacheShared === null ? '' : `, shared in ${cacheShared}`}`,
  ];
}

function messageRow({ message, kind, from, to, queue, ordered, attempts, concurrency, heardBy }: PlannedMessage): string[] {
  const way = `${from.join(', ') || 'nobody'} → ${to ?? (heardBy.join(', ') || 'nobody')}`;
  if (queue === null) return [message, kind, way, heardBy.length > 0 ? 'told as it is published, no queue' : ''];
  return [message, kind, way, `queue ${queue}`, `${ordered ? 'in order per key, ' : ''}${count(attempts, 'try', 'tries')}, ${concurrency} at once`];
}

function driverRows({ settings }: Plan): string[][] {
  const named = (section: unknown) => (section as { driver: string }).driver;
  const channels = Object.entries(settings.channels as object).map(([name, section]) => `${name} by ${named(section)}`);
  return [
    ['bus', named(settings.bus)],
    ['channels', channels.join(', ')],
    ['registry', named(settings.registry)],
  ];
}

export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows.reduce<number[]>((most, row) => row.map((cell, at) => Math.max(most[at] ?? 0, cell.length)), []);
  return rows.map((row) => `  ${row.map((cell, at) => cell.padEnd(widths[at]!)).join('  ')}`.trimEnd());
}

function orNone(lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? ['  none'] : lines;
}

export function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}

function ms(value: number): string {
  return value >= 1_000 ? `${value / 1_000} s` : `${value} ms`;
}
