import { type IncomingMessage, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createServer } from 'node:net';
import { newId } from '../../kernel/ids.ts';
import type { TlsMaterial } from '../../ports/transport.ts';
import { Replicas } from '../../fabric/replicas.ts';
import { streamTransports } from '../../../adapters/transport/catalog.ts';
import type { Config } from '../config/config.ts';
import { parseListen } from '../config/listen.ts';
import { probe, type Parts } from '../config/parts.ts';
import { isRunning } from '../control/client.ts';
import type { Finding } from './checks.ts';
import { createRegistry, createSharedCache } from './drivers.ts';
import { calledFrom, groups, knownAddresses } from './network.ts';

/** How long another host, the registry or a cache is waited for. */
const ANSWER_MS = 3_000;
const LOOK_AGAIN_MS = 50;
/** The header that tells a clock is whole seconds; deadlines do not depend on clocks, the times in histories do. */
const MOST_SKEW_MS = 5_000;
/** Nobody is there yet, or the way there is closed: no reason why this host could not start. */
const NOBODY_THERE = /\bE(CONNREFUSED|CONNRESET|TIMEDOUT|HOSTUNREACH|NETUNREACH)\b|It is connecting|has not answered|fallen silent|in time|CONNECT_TIMEOUT/;

/** What one host of several needs from this machine and from the others. Changes nothing anywhere. */
export async function checkPeers(config: Config, host: string, parts: Parts): Promise<Finding[]> {
  const addresses = new Map<string, string[]>();
  const registry = await checkRegistry(config, host, parts, addresses);
  const others = Object.keys(config.hosts).filter((name) => name !== host);
  const found = await Promise.all([checkListen(config, host), ...others.map((other) => checkHost(config, host, other, addresses.get(other) ?? [], parts)), checkSharedCaches(config, parts)]);
  return [registry, ...found.flat()];
}

async function checkListen({ hosts, dataDir }: Config, host: string): Promise<Finding> {
  const check = 'peer port';
  const { listen } = hosts[host]!;
  if (await isRunning(dataDir, host)) return { check, state: 'ok', detail: `${host} runs on this data directory and was left alone` };
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve({ check, state: 'fail', detail: `${listen} cannot be listened on (${error.code})`, remedy: `Stop what uses it (ss -ltnp), or choose another with hosts.${host}.listen.` }));
    server.listen(parseListen(listen!)!, () => server.close(() => resolve({ check, state: 'ok', detail: `${listen} is free` })));
  });
}

/** Fills in where the processes of each host are. */
async function checkRegistry(config: Config, host: string, parts: Parts, addresses: Map<string, string[]>): Promise<Finding> {
  const check = 'registry';
  const { driver } = config.registry;
  const hosts = knownAddresses(config);
  const registry = createRegistry(config.registry, parts, { ...probe(config.dataDir), hosts, host, replicas: config.hosts[host]!.replicas });
  let fresh = false;
  try {
    void registry.start().catch(() => {});
    const unwatch = registry.watch((state) => {
      fresh = state.fresh;
      addresses.clear();
      for (const { host: name, address } of state.announcements) addresses.set(name, [...(addresses.get(name) ?? []), address]);
    });
    await until(() => fresh);
    unwatch();
  } finally {
    await registry.stop(1_000).catch(() => {});
  }
  if (fresh) return { check, state: 'ok', detail: driver };
  return { check, state: 'warn', detail: `${driver}: no answer in ${ANSWER_MS / 1_000} s`, remedy: 'Start it, or correct registry.servers; until it answers, hosts are looked for where the topology says.' };
}

/** Connects as the host itself does: the introduction with the secret, its name, and whether the contracts fit. */
async function checkHost(config: Config, host: string, other: string, addresses: readonly string[], parts: Parts): Promise<Finding[]> {
  const check = `host ${other}`;
  if (addresses.length === 0) return [{ check, state: 'warn', detail: 'no process of it is known', remedy: `Start it: multilith start --host ${other}. This host starts without it.` }];
  const { tls, secret } = config.peers;
  const identity = { introduction: { host, process: newId(), contracts: {} }, offers: [], secret: secret ?? null };
  const modules = parts.modules.filter(({ name }) => config.hosts[host]!.modules.includes(name));
  const calls = groups(calledFrom({ config, host, modules }).filter((one) => one.host === other));
  const findings = [...calls].map(async ([key, contracts]): Promise<Finding[]> => {
    const via = key.split(' ')[1] as keyof typeof streamTransports;
    const replicas = new Replicas({ host: other, contracts, log: probe('.').log, newLink: (address) => streamTransports[via].link(identity, { at: parseListen(address)!, ...(tls && { tls }) }) });
    try {
      replicas.update(addresses);
      const fits = () => replicas.states().every(({ state, problem }) => state === 'open' && problem === null);
      await until(() => fits() && replicas.ready);
      return replicas.states().map(({ address, state, problem }) => {
        if (state === 'open' && problem === null) return { check, state: 'ok', detail: `${address} answers over ${via}, and its contracts fit` };
        const detail = `${via}: ${problem ?? `${address} has not answered in ${ANSWER_MS / 1_000} s`}`;
        if (state !== 'open' && (problem === null || NOBODY_THERE.test(problem))) return { check, state: 'warn', detail, remedy: `Start it (multilith start --host ${other}), or correct hosts.${other}.addresses, or open the port. This host starts without it.` };
        return { check, state: 'fail', detail, remedy: 'Give both hosts the same build, topology, secret (MULTILITH_PEER_SECRET) and, where configured, certificates of the same authority.' };
      });
    } finally {
      await replicas.stop(0);
    }
  });
  const clocks = addresses.map((address) => checkSkew(other, address, tls));
  return [...(await Promise.all(findings)).flat(), ...(await Promise.all(clocks)).flat()];
}

/** By the date in an answer to a probe; nothing where nobody answers. */
async function checkSkew(other: string, address: string, tls: TlsMaterial | undefined): Promise<Finding[]> {
  const askedAt = Date.now();
  const date = await dateAt(address, tls);
  if (date === undefined) return [];
  // The header cuts off the fraction of its second.
  const skewMs = Math.max(askedAt - 1_000 - date, date - Date.now(), 0);
  if (skewMs <= MOST_SKEW_MS) return [{ check: `clock ${other}`, state: 'ok', detail: `${address} agrees with this machine within seconds` }];
  return [{ check: `clock ${other}`, state: 'warn', detail: `the clock at ${address} is ${Math.round(skewMs / 1_000)} s away from this machine's`, remedy: 'Synchronise the clocks of both machines (timedatectl set-ntp true).' }];
}

function dateAt(address: string, tls: TlsMaterial | undefined): Promise<number | undefined> {
  const { host, port } = parseListen(address)!;
  const options = { host, port, path: '/livez', signal: AbortSignal.timeout(ANSWER_MS), agent: false as const };
  return new Promise((resolve) => {
    const answered = (response: IncomingMessage) => {
      response.resume();
      const date = Date.parse(response.headers.date ?? '');
      resolve(Number.isNaN(date) ? undefined : date);
    };
    const asking = tls === undefined ? httpRequest(options, answered) : httpsRequest({ ...options, ...tls }, answered);
    asking.once('error', () => resolve(undefined)).end();
  });
}

/** The caches that hosts have in common, as far as calls go through them. */
export function checkSharedCaches(config: Config, parts: Parts): Promise<Finding[]> {
  const names = new Set(Object.values(config.calls).flatMap(({ cache }) => cache?.shared ?? []));
  return Promise.all([...names].map((name) => checkSharedCache(config, name, parts)));
}

async function checkSharedCache(config: Config, name: string, parts: Parts): Promise<Finding> {
  const check = `cache ${name}`;
  const { driver } = config.caches[name]!;
  const cache = createSharedCache(config.caches[name]!, parts, probe(config.dataDir));
  const key = `doctor:${newId()}`;
  let kept: string | undefined;
  try {
    await cache.start();
    await until(async () => {
      await cache.set(key, '1', 1_000);
      return (kept = await cache.get(key)) === '1';
    });
  } finally {
    await cache.stop(1_000);
  }
  if (kept === '1') return { check, state: 'ok', detail: `${driver} keeps what it is given` };
  return { check, state: 'warn', detail: `${driver} does not answer`, remedy: `Start it, or correct caches.${name}. Without it each process keeps its own answers only.` };
}

/** Whether it has come true in time. */
async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + ANSWER_MS;
  while (!(await isTrue()) && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
}
