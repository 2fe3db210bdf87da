import { Fault } from '../../kernel/fault.ts';
import { hostsOn } from '../control/running.ts';
import { BootProblem } from './boot-problem.ts';

/**
 * Why a host that has its place on the data directory finds a database of its own in use: another host there runs the
 * same module, by another topology. Undefined when that is not what went wrong.
 */
export async function takenDatabase(error: unknown, { dataDir, host, modules }: { readonly dataDir: string; readonly host: string; readonly modules: readonly string[] }): Promise<BootProblem | undefined> {
  if (!Fault.is(error) || error.reason !== 'locked') return undefined;
  const others = (await hostsOn(dataDir)).filter((one) => one.host !== host).map((one) => (one.pid === null ? one.host : `${one.host} (process ${one.pid})`));
  const own = `a database that ${host} needs for ${modules.join(', ')} is open in another process`;
  if (others.length === 0) return new BootProblem(`In ${dataDir} ${own}.`, 'Stop the process that uses it, or give this one a data directory of its own: MULTILITH_DATA=…', error);
  return new BootProblem(
    `In ${dataDir} ${own}. On this data directory runs: ${others.join(', ')}, probably with another topology, by which it has these modules itself.`,
    'A module runs on one host at a time: stop that process first, then start every host with the same topology.',
    error,
  );
}
