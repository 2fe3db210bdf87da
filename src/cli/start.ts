import type { Config } from '../app/config/config.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import { keepHeapSmall } from '../app/host/heap.ts';
import { Host } from '../app/host/host.ts';
import { createLog } from '../app/host/log.ts';
import { parts } from '../app/parts.ts';
import { Fault } from '../kernel/fault.ts';
import type { Command, Io } from './command.ts';
import { CONFIG_OPTIONS, HOST_OPTION, hostOf, loadConfig } from './configuration.ts';
import { untilStopped } from './until-stopped.ts';

/** What a broker has to write down what it holds; it stops after the host. */
const SERVERS_STOP_MS = 8_000;
/** A start that waits for longer says for whom. */
const SILENT_MS = 1_000;

export const start: Command = {
  name: 'start',
  usage: '[options]',
  details: `Runs one host of the topology; by default that is everything in one process with embedded storage.
Standard output says where to go; the log is JSON on standard error (words on a terminal).
SIGTERM or Ctrl-C stops in order: /readyz turns 503, new requests find nobody, what is under way
is finished within shutdown.deadlineMs. A second signal ends the process at once.

With --with-servers the servers that the topology names on this machine (an ActiveMQ broker, ZooKeeper,
PostgreSQL for storages with a passwordFile) are started first, with their data in the data directory,
started again when they die, and stopped last.

Exit codes: 0 stopped in order · 1 could not start, or broke · 2 wrong option or configuration.`,
  options: { ...CONFIG_OPTIONS, ...HOST_OPTION, 'with-servers': { help: 'Start the servers of this machine that the topology names, and stop them at the end.' } },
  async run(args, io) {
    const config = loadConfig(args, io, parts);
    const log = createLog(config.log.level, process.stderr.isTTY === true);
    const name = hostOf(config, args, io);
    const servers = args.flag('with-servers') ? new (await import('../app/servers/local-servers.ts')).LocalServers(config, log) : undefined;
    const host = new Host(config, name, parts, log, () => servers?.problems ?? []);
    const stop = async (deadlineMs: number) => {
      await host.stop(deadlineMs).finally(() => servers?.stop(SERVERS_STOP_MS));
    };
    const ended = untilStopped(stop, { deadlineMs: config.shutdown.deadlineMs, afterMs: servers === undefined ? 0 : SERVERS_STOP_MS }, log, io);
    const waiting = sayWhoIsAwaited(host, config, io);
    try {
      await servers?.start();
      if (ended.isStopping()) return await ended.code;
      await host.start();
      keepHeapSmall();
      io.out(await welcome(host, config, servers?.names));
    } catch (error) {
      if (ended.isStopping()) return ended.code;
      await servers?.stop(SERVERS_STOP_MS);
      if (error instanceof BootProblem) {
        log.flush();
        throw error;
      }
      // A fault's own words name no table and no statement; its cause does.
      log.error({ err: Fault.is(error) ? (error.cause ?? error) : error }, 'The host could not start');
      log.flush();
      throw new BootProblem(`The host could not start: ${(error as Error).message}`, remedyIn(error) ?? 'The log above says more. `multilith doctor` looks for what may be wrong.', error);
    } finally {
      clearInterval(waiting);
    }
    return ended.code;
  },
};

/** Once, for whoever wonders at a terminal why it is not ready. */
function sayWhoIsAwaited(host: Host, config: Config, io: Io): NodeJS.Timeout {
  const timer = setInterval(() => {
    const { awaited } = host;
    if (awaited.length === 0) return;
    clearInterval(timer);
    io.out(`Waiting for ${awaited.map((name) => `${name}${addressOf(name, config)} (${name === config.bus.host ? 'it keeps the messages: as long as it takes' : `${config.peers.waitMs / 1_000} s at most`})`).join(', ')} …`);
  }, SILENT_MS).unref();
  return timer;
}

/** As far as the configuration knows it. */
function addressOf(name: string, { hosts }: Config): string {
  const { listen, addresses } = hosts[name]!;
  const known = (addresses ?? [listen ?? '']).filter((address) => !/(^|:0)$/.test(address));
  return known.length === 0 ? '' : ` at ${known.join(' or ')}`;
}

/** Other hosts and probes find something there, browsers do not. */
function whereToGo(host: Host, { peers }: Config): string {
  if (host.hasPages) return host.localUrl;
  const url = new URL(peers.tls === undefined ? host.localUrl : host.localUrl.replace('http:', 'https:'));
  return `takes calls of other hosts at ${url.host} (probes: ${url.origin}/livez, /readyz, /metrics)`;
}

async function welcome(host: Host, config: Config, servers: readonly string[] = []): Promise<string> {
  const channels = host.channels.map(({ name, driver }) => `${name} by ${driver}${driver === 'outbox' ? ' (kept for reading; MULTILITH_SMTP_URL sends it out)' : ''}`);
  const greetings = await host.greetings();
  const about = [
    ...(Object.keys(config.hosts).length > 1 ? [`  host      ${host.name}: ${config.hosts[host.name]!.modules.join(', ')}`] : []),
    `  data      ${config.dataDir}`,
    ...(servers.length > 0 ? [`  servers   ${servers.join(', ')}`] : []),
    ...(channels.length > 0 ? [`  channels  ${channels.join(', ')}`] : []),
  ];
  return ['', `Multilith is ready: ${whereToGo(host, config)}`, ...about, ...(greetings.length > 0 ? ['', ...greetings] : []), ''].join('\n');
}

/** Faults of adapters carry the operator's remedy in their details. */
function remedyIn(error: unknown): string | undefined {
  const remedy = (error as { details?: { remedy?: unknown } } | null)?.details?.remedy;
  return typeof remedy === 'string' ? remedy : undefined;
}
