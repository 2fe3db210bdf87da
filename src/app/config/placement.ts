import type { ModuleDefinition } from '../../kernel/module.ts';

/** How far each way of calling reaches. */
export const REACH = {
  inline: 'process',
  'inline-strict': 'process',
  thread: 'process',
  rpc: 'network',
  http: 'network',
} as const satisfies Record<string, 'process' | 'network'>;

export type Via = keyof typeof REACH;

/** As much of a configuration as says who is where. */
interface Layout {
  readonly hosts: Readonly<Record<string, { readonly modules: readonly string[] }>>;
  readonly calls: Readonly<Record<string, { readonly via?: string | undefined }>>;
}

/** The host that runs a module; undefined when none does. */
export function hostOfModule(module: string, { hosts }: Pick<Layout, 'hosts'>): string | undefined {
  return Object.entries(hosts).find(([, { modules }]) => modules.includes(module))?.[0];
}

/**
 * How one module reaches another: what the topology says of the callee, but inline within a host unless it says
 * thread or inline-strict, and rpc to another host unless it says http.
 */
export function viaBetween(caller: string, callee: string, layout: Layout): Via {
  const said = layout.calls[callee]?.via as Via | undefined;
  const crosses = hostOfModule(caller, layout) !== hostOfModule(callee, layout);
  if (crosses) return said !== undefined && REACH[said] === 'network' ? said : 'rpc';
  if (isOnThread(callee, layout)) return 'thread';
  // Whoever is on a thread of its own reaches the rest of its host over the same border.
  if (isOnThread(caller, layout)) return 'thread';
  return said === 'inline-strict' ? said : 'inline';
}

/** Whether the whole topology is one process, which keeps to itself. */
export function isAlone({ hosts }: { readonly hosts: Readonly<Record<string, { readonly replicas: number }>> }): boolean {
  const all = Object.values(hosts);
  return all.length === 1 && all[0]!.replicas === 1;
}

export function isOnThread(module: string, { calls }: Pick<Layout, 'calls'>): boolean {
  return calls[module]?.via === 'thread';
}

/** Modules that call a module from another host. */
export function callersAcross(callee: string, modules: readonly ModuleDefinition[], layout: Layout): string[] {
  const home = hostOfModule(callee, layout);
  return modules.filter(({ name, contract, calls }) => name !== callee && contract.name !== callee && hostOfModule(name, layout) !== home && calls.some((one) => one.name === callee)).map(({ name }) => name);
}
