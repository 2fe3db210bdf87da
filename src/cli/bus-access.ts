import { existsSync } from 'node:fs';
import type { Config } from '../app/config/config.ts';
import { probe } from '../app/config/parts.ts';
import { askHost, isRunning } from '../app/control/client.ts';
import { runBusOperation, type BusOperation } from '../app/control/operations.ts';
import { leaveDataDir, takeDataDir } from '../app/control/socket.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import { busDatabase } from '../app/host/drivers.ts';
import { KeptBus, readTopologyWith } from '../app/host/kept-bus.ts';
import { parts } from '../app/parts.ts';
import { Fault } from '../kernel/fault.ts';
import type { Io } from './command.ts';

/** Runs one operation on the bus, wherever it is. */
export type Ask = (operation: BusOperation, input: object) => Promise<unknown>;

/**
 * Through a host that runs here, the keeper of the messages first; any other asks it. While none runs, and so none can
 * start, on the bus itself where it lies.
 */
export async function withBus(config: Config, io: Io, work: (ask: Ask) => Promise<void>): Promise<void> {
  const { dataDir } = config;
  const hosts = Object.keys(config.hosts);
  const keeper = config.bus.host ?? hosts[0]!;
  for (const host of new Set([keeper, ...hosts])) if (await isRunning(dataDir, host)) return work((operation, input) => askThrough(host, config, operation, input));
  if (!existsSync(dataDir)) throw new BootProblem(`There is no data directory ${dataDir}.`, 'Start the host first, or name its data directory with MULTILITH_DATA.');
  const { bus } = new KeptBus({ config, host: keeper, parts, context: probe(dataDir), readTopology: readTopologyWith(parts, io) });
  // Opening it would make one, and its emptiness would say nothing of the messages.
  if (!bus.capabilities.spansHosts && !existsSync(busDatabase(config))) throw notHere(keeper, config);
  const lock = await takeDataDir(dataDir, keeper);
  try {
    await bus.start();
    await work((operation, input) => runBusOperation(bus, operation, input));
  } finally {
    await bus.stop(10_000);
    await leaveDataDir(lock, dataDir, keeper);
  }
}

async function askThrough(host: string, { dataDir, bus: { host: keeper } }: Config, operation: BusOperation, input: object): Promise<unknown> {
  try {
    return await askHost(dataDir, host, 'POST', `/bus/${operation}`, input);
  } catch (error) {
    if (keeper === null || host === keeper || !Fault.is(error) || error.code !== 'unavailable') throw error;
    throw new BootProblem(`The host ${keeper} keeps the messages, does not run on ${dataDir}, and cannot be asked through ${host}: ${error.message}`, `Start ${keeper}, or run this command on its machine.`, error);
  }
}

function notHere(keeper: string, { dataDir, hosts }: Config): BootProblem {
  const { listen } = hosts[keeper]!;
  const where = listen === undefined ? '' : `, at ${listen}`;
  return new BootProblem(
    `There are no messages in ${dataDir}, and no host of this topology runs on it. The host ${keeper} keeps them${where}.`,
    `Run this command on the machine of ${keeper}, or on one where a host of the topology runs; --topology and MULTILITH_DATA say which.`,
  );
}

/** How old something is, for people. */
export function age(ms: number): string {
  if (ms < 10_000) return `${ms} ms`;
  const minutes = Math.floor(ms / 60_000);
  return minutes < 1 ? `${Math.round(ms / 1_000)} s` : minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}
