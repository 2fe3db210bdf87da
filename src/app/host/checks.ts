import { execFile } from 'node:child_process';
import { closeSync, fsyncSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Fault } from '../../kernel/fault.ts';
import type { Config } from '../config/config.ts';
import { probe, type Chosen, type Parts } from '../config/parts.ts';
import { isRunning } from '../control/client.ts';
import { BootProblem } from './boot-problem.ts';
import { prepareDataDir } from './data-dir.ts';
import { createBlobs, createBus, createChannel, createStorage } from './drivers.ts';
import { holdText, readHold } from './sending-hold.ts';

/** What one look at this machine found. */
export interface Finding {
  readonly check: string;
  readonly state: 'ok' | 'warn' | 'fail';
  readonly detail: string;
  /** What to do about it; left out when nothing is to be done. */
  readonly remedy?: string;
}

const NODE_MAJOR = 24;
const SPARE_BYTES = 1_073_741_824;
const CHANNEL_MS = 15_000;
/** Above it a transaction of its own feels slow; group commit hides it under load. */
const SLOW_FSYNC_MS = 20;
/** By the magic number of statfs(2), on Linux. ext2 and ext3 have the same one as ext4. */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0xef53: 'ext4',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x2fc12fc1: 'zfs',
  0xf2f52010: 'f2fs',
  0xca451a4e: 'bcachefs',
  0x794c7630: 'overlayfs',
  0x65735546: 'fuse',
  0x01021994: 'tmpfs',
  0x858458f6: 'ramfs',
  0x6969: 'nfs',
  0xff534d42: 'cifs',
  0xfe534d42: 'smb2',
  0x517b: 'smb',
  0x01021997: '9p',
};
/** These keep no promise about locks, or none about what is on disk. */
const RISKY_FILE_SYSTEMS = new Set(['nfs', 'cifs', 'smb2', 'smb', '9p', 'tmpfs', 'ramfs']);

export function checkNode(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= NODE_MAJOR) return { check: 'node', state: 'ok', detail: process.version };
  return { check: 'node', state: 'fail', detail: `${process.version} is too old`, remedy: `Run it with Node ${NODE_MAJOR} or newer; "npm start" brings its own.` };
}

/** A clock before this program was written, or one that the system says is not synchronised, sends mail at the wrong time. */
export async function checkClock(): Promise<Finding> {
  const remedy = 'Let the system set its clock (timedatectl set-ntp true, chrony, or the hypervisor).';
  if (Date.now() < Date.UTC(2026, 0, 1)) return { check: 'clock', state: 'fail', detail: `it says ${new Date().toISOString()}`, remedy };
  const [wall, steady] = [Date.now(), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, 50));
  const drift = Math.abs(Date.now() - wall - (performance.now() - steady));
  if (drift > 20) return { check: 'clock', state: 'warn', detail: `it jumped by ${Math.round(drift)} ms while being watched`, remedy };
  const synchronised = await promisify(execFile)('timedatectl', ['show', '--property=NTPSynchronized', '--value'], { timeout: 2_000 }).then(({ stdout }) => stdout.trim(), () => 'unknown');
  if (synchronised === 'no') return { check: 'clock', state: 'warn', detail: `${new Date().toISOString()}, not synchronised`, remedy };
  return { check: 'clock', state: 'ok', detail: `${new Date().toISOString()}, ${Intl.DateTimeFormat().resolvedOptions().timeZone}` };
}

export async function checkDataDir(config: Config): Promise<Finding[]> {
  const { dataDir } = config;
  try {
    prepareDataDir(dataDir);
  } catch (error) {
    if (error instanceof BootProblem) return [{ check: 'data', state: 'fail', detail: error.message, remedy: error.remedy }];
    throw error;
  }
  const { bavail, bsize, type } = statfsSync(dataDir);
  const free = bavail * bsize;
  const least = leastFreeBytes(config);
  const space = `${(free / 1e9).toFixed(1)} GB free`;
  return [
    { check: 'data', state: 'ok', detail: `${dataDir} is writable` },
    free < least
      ? { check: 'disk', state: 'fail', detail: `${space}; below ${(least / 1e9).toFixed(1)} GB nothing is accepted`, remedy: 'Free some space, or move the data directory to a larger disk.' }
      : free < SPARE_BYTES
        ? { check: 'disk', state: 'warn', detail: space, remedy: 'Free some space before it runs out.' }
        : { check: 'disk', state: 'ok', detail: space },
    checkFileSystem(type),
    checkFsync(dataDir),
  ];
}

/** `type` as statfs(2) answers it: a magic number on Linux. One that is not known here is named by its number. */
export function checkFileSystem(type: number): Finding {
  const name = FILE_SYSTEMS[type] ?? `unknown (type 0x${type.toString(16)})`;
  if (!RISKY_FILE_SYSTEMS.has(name)) return { check: 'file system', state: 'ok', detail: name };
  return { check: 'file system', state: 'warn', detail: `${name} does not keep what a local disk promises (locks, or data after a power cut)`, remedy: 'Put the data directory on a local disk (ext4, xfs, zfs, apfs).' };
}

/** What the bus asks for, where it does. */
function leastFreeBytes({ bus }: Config): number {
  const { minFreeBytes } = bus.settings as { minFreeBytes?: unknown };
  return typeof minFreeBytes === 'number' ? minFreeBytes : 0;
}

function checkFsync(dataDir: string): Finding {
  const path = join(dataDir, `.doctor-${process.pid}`);
  try {
    const file = openSync(path, 'w', 0o600);
    try {
      const times = Array.from({ length: 15 }, () => {
        const startedAt = performance.now();
        writeSync(file, Buffer.alloc(4_096, 1));
        fsyncSync(file);
        return performance.now() - startedAt;
      });
      const median = times.sort((a, b) => a - b)[7]!;
      const detail = `median ${median.toFixed(2)} ms, about ${Math.round(1_000 / median)} transactions/s one by one, many times that together`;
      return median > SLOW_FSYNC_MS ? { check: 'fsync', state: 'warn', detail, remedy: 'Expect slow single writes on this disk; an SSD with power-loss protection helps.' } : { check: 'fsync', state: 'ok', detail };
    } finally {
      closeSync(file);
    }
  } catch (error) {
    return { check: 'fsync', state: 'fail', detail: `writing and syncing a file failed (${(error as NodeJS.ErrnoException).code})`, remedy: 'Look at the disk: full, read-only or failing (dmesg).' };
  } finally {
    rmSync(path, { force: true });
  }
}

/** Where exports go, when that is not a folder of this host. */
export async function checkBlobs({ blobs: chosen, dataDir }: Config, parts: Parts): Promise<Finding[]> {
  if (chosen.driver === 'fs') return [];
  const { ok, detail } = await createBlobs(chosen, parts, probe(dataDir)).check();
  return [{ check: 'blobs', state: ok ? 'ok' : 'warn', detail: `${chosen.driver}: ${detail}`, ...(!ok && { remedy: 'Correct endpoint, bucket and key of blobs; until then nothing can be exported.' }) }];
}

/** What a restored copy waits for. */
export function checkSending({ dataDir }: Config): Finding[] {
  const held = readHold(dataDir);
  return held === undefined ? [] : [{ check: 'sending', state: 'warn', detail: holdText(held), remedy: 'multilith sending release, once what it would send has been looked at.' }];
}

/** Of a host that shows pages. */
export async function checkPort({ http, hosts, dataDir }: Config): Promise<Finding> {
  const { host, port } = http.listen;
  if ((await Promise.all(Object.keys(hosts).map((host) => isRunning(dataDir, host)))).some(Boolean)) return { check: 'port', state: 'ok', detail: 'a host runs on this data directory and was left alone' };
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve({ check: 'port', state: 'fail', detail: `${host}:${port} cannot be listened on (${error.code})`, remedy: 'Stop what uses it (ss -ltnp), or choose another with MULTILITH_HTTP_LISTEN.' }));
    server.listen({ host, port }, () => server.close(() => resolve({ check: 'port', state: 'ok', detail: `${host}:${port} is free` })));
  });
}

export async function checkChannels(config: Config, parts: Parts): Promise<Finding[]> {
  return Promise.all(Object.entries(config.channels).map(([name, chosen]) => checkChannel(name, chosen, config, parts)));
}

/** Of storages that stand on a server. */
export async function checkStorages({ storage, dataDir }: Config, modules: readonly string[], parts: Parts): Promise<Finding[]> {
  const found = await Promise.all(
    modules.map(async (module): Promise<Finding[]> => {
      const chosen = storage[module]!;
      const checks = (await createStorage(module, chosen, parts, probe(dataDir)).check?.()) ?? [];
      return checks.map(({ part, ok, detail, remedy }) => {
        const failed = part === 'replica' ? 'warn' : 'fail';
        return { check: `storage ${module}`, state: ok ? 'ok' : failed, detail: `${chosen.driver}${part === 'replica' ? ', replica' : ''}: ${detail}`, ...(remedy !== undefined && { remedy }) };
      });
    }),
  );
  return found.flat();
}

/** Of a bus that stands on something that may be away. */
export async function checkBus({ bus: chosen, dataDir }: Config, parts: Parts): Promise<Finding[]> {
  const bus = createBus(chosen, parts, probe(dataDir));
  if (bus.check === undefined) return [];
  const { ok, detail, remedy = 'Start the broker (`multilith servers`, where it is to run on this machine), and check host, port, user and password of the bus.' } = await bus.check();
  return [{ check: 'bus', state: ok ? 'ok' : 'fail', detail: `${chosen.driver}: ${detail}`, ...(!ok && { remedy }) }];
}

async function checkChannel(name: string, chosen: Chosen, { dataDir }: Config, parts: Parts): Promise<Finding> {
  const { driver } = chosen;
  const check = `channel ${name}`;
  const remedy = 'Check host, port and password of the channel, and whether this machine may connect there.';
  let timer: NodeJS.Timeout | undefined;
  try {
    const channel = createChannel(name, chosen, parts, probe(dataDir));
    const late = new Promise<{ ok: boolean; detail: string }>((resolve) => (timer = setTimeout(resolve, CHANNEL_MS, { ok: false, detail: `no answer in ${CHANNEL_MS / 1_000} s` })));
    const { ok, detail } = await Promise.race([channel.check(), late]);
    await channel.stop(1_000);
    return { check, state: ok ? 'ok' : 'fail', detail: `${driver}: ${detail}`, ...(!ok && { remedy }) };
  } catch (error) {
    return { check, state: 'fail', detail: `${driver}: ${Fault.is(error) ? error.reason : (error as Error).message}`, remedy };
  } finally {
    clearTimeout(timer);
  }
}
