import type { Config } from '../app/config/config.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import { keepHeapSmall } from '../app/host/heap.ts';
import { Host } from '../app/host/host.ts';
import { createLog, type HostLog } from '../app/host/log.ts';
import { parts } from '../app/parts.ts';
import { Fault } from '../kernel/fault.ts';
import { EXIT, type Command, type Io } from './command.ts';
import { CONFIG_OPTIONS, HOST_OPTION, hostOf, loadConfig } from './configuration.ts';

/** After a defect nobody foresaw, state may be wrong: long enough to answer what is under way, no longer. */
const CRASH_DRAIN_MS = 3_000;
/** What a stop may take beyond its deadline, for closing what did not finish. */
const GRACE_MS = 2_000;
/** A start that waits for longer says for whom. */
const SILENT_MS = 1_000;

export const start: Command = {
  name: 'start',
  usage: '[options]',
  details: `Runs one host of the topology; by default that is everything in one process with embedded storage.
Standard output says where to go; the log is JSON on standard error (words on a terminal).
SIGTERM or Ctrl-C stops in order: /readyz turns 503, new requests find nobody, what is under way
is finished within shutdown.deadlineMs. A second signal ends the process at once.

Exit codes: 0 stopped in order · 1 could not start, or broke · 2 wrong option or configuration.`,
  options: { ...CONFIG_OPTIONS, ...HOST_OPTION },
  async run(args, io) {
    const config = loadConfig(args, io, parts);
    const log = createLog(config.log.level, process.stderr.isTTY === true);
    const host = new Host(config, hostOf(config, args, io), parts, log);
    const ended = untilStopped(host, config, log, io);
    const waiting = sayWhoIsAwaited(host, config, io);
    try {
      await host.start();
      keepHeapSmall();
      io.out(await welcome(host, config));
    } catch (error) {
      if (ended.isStopping()) return ended.code;
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

/** Stops the host at the first signal or defect; `code` settles when it has stopped. */
function untilStopped(host: Host, config: Config, log: HostLog, io: Io): { readonly code: Promise<number>; isStopping(): boolean } {
  let stopping = false;
  const code = new Promise<number>((resolve) => {
    const stop = async (exitCode: number, deadlineMs: number) => {
      stopping = true;
      // Should a part hang, or the start itself, this ends it all the same.
      setTimeout(() => {
        log.error({ deadlineMs }, 'The stop did not end in time; the process ends now');
        log.flush();
        process.exit(EXIT.failed);
      }, deadlineMs + GRACE_MS).unref();
      const problem = await host.stop(deadlineMs).then(
        () => undefined,
        (error: unknown) => error ?? 'unknown',
      );
      if (problem !== undefined) log.error({ err: problem }, 'Not everything stopped in order');
      log.flush();
      resolve(problem === undefined ? exitCode : EXIT.failed);
    };
    const onSignal = (signal: NodeJS.Signals) => {
      if (stopping) process.exit(EXIT.failed);
      log.info({ signal }, 'Stopping');
      io.out('Stopping …');
      void stop(EXIT.ok, config.shutdown.deadlineMs);
    };
    const onDefect = (error: unknown) => {
      log.error({ err: error }, 'A defect that nobody caught; the process ends');
      if (!stopping) void stop(EXIT.failed, CRASH_DRAIN_MS);
    };
    process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
    process.on('uncaughtException', onDefect).on('unhandledRejection', onDefect);
  });
  return { code, isStopping: () => stopping };
}

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

async function welcome(host: Host, config: Config): Promise<string> {
  const channels = host.channels.map(({ name, driver }) => `${name} by ${driver}${driver === 'outbox' ? ' (kept for reading; MULTILITH_SMTP_URL sends it out)' : ''}`);
  const greetings = await host.greetings();
  const about = [
    ...(Object.keys(config.hosts).length > 1 ? [`  host      ${host.name}: ${config.hosts[host.name]!.modules.join(', ')}`] : []),
    `  data      ${config.dataDir}`,
    ...(channels.length > 0 ? [`  channels  ${channels.join(', ')}`] : []),
  ];
  return ['', `Multilith is ready: ${whereToGo(host, config)}`, ...about, ...(greetings.length > 0 ? ['', ...greetings] : []), ''].join('\n');
}

/** Faults of adapters carry the operator's remedy in their details. */
function remedyIn(error: unknown): string | undefined {
  const remedy = (error as { details?: { remedy?: unknown } } | null)?.details?.remedy;
  return typeof remedy === 'string' ? remedy : undefined;
}
