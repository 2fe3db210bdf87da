import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type BackupProgress, Backups } from '../app/backup/backups.ts';
import { closedDatabases, requireAllHere, requireUsed, stoppedProblem } from '../app/backup/databases.ts';
import { OwnDesk } from '../app/backup/own-desk.ts';
import { requireWhole } from '../app/backup/unfinished.ts';
import type { Config } from '../app/config/config.ts';
import { probe } from '../app/config/parts.ts';
import { askHost, isRunning } from '../app/control/client.ts';
import { leaveDataDir, takeDataDir } from '../app/control/socket.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import { parts } from '../app/parts.ts';
import { count } from '../app/plan/plan-text.ts';
import type { Storage } from '../ports/storage.ts';
import { EXIT, UsageError, type Command, type Io } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';

/** How often a host is asked how far it is. */
const LOOK_MS = 250;
const TELL_MS = 1_000;
const STOP_MS = 10_000;

export const backup: Command = {
  name: 'backup',
  usage: 'FILE|FOLDER [options]',
  words: 1,
  details: `Writes everything that is durable to one file, as it is at one moment: people, events, automations, messages,
deliveries, kept mails, and the secret of the installation. In a folder the file is named for the moment.

A running host writes it while it works, with what the other hosts of the topology have; writing is held back
for a second at most, mostly for some milliseconds. Without a running host the command does it.

The file is for its owner only and holds personal data and secrets: keep it as you keep the data. Until it is
whole it is called FILE.part. "multilith restore" makes an installation of it.

Exit codes: 0 it is whole and on disk · 1 it failed, nothing is left of it · 2 wrong option or configuration.`,
  options: { ...CONFIG_OPTIONS, json: { help: 'JSON for programs.' } },
  async run(args, io) {
    const [to] = args.words;
    if (to === undefined) throw new UsageError('backup needs to know where to: a file that is not there yet, or a folder.');
    const config = loadConfig(args, io, parts);
    const ended = await write(config, resolve(io.cwd, to), io);
    if (args.flag('json')) io.out(JSON.stringify(ended, undefined, 2));
    else if (ended.state === 'done') io.out(`${ended.file}: all of ${ended.created}, ${count(ended.rows, 'row')}, ${size(ended.bytes)}. Writing was held back for ${ended.heldMs} ms.`);
    else io.error(`The backup failed, and nothing is left of it: ${ended.problem}`);
    return ended.state === 'done' ? EXIT.ok : EXIT.failed;
  },
};

async function write(config: Config, path: string, io: Io): Promise<BackupProgress> {
  const { dataDir } = config;
  for (const host of Object.keys(config.hosts)) if (await isRunning(dataDir, host)) return follow(dataDir, host, path, io);
  if (!existsSync(dataDir)) throw new BootProblem(`There is no data directory ${dataDir}.`, 'Name that of the host with MULTILITH_DATA.');
  const problem = stoppedProblem(config);
  if (problem !== undefined) throw problem;
  requireWhole(dataDir);
  requireAllHere(config, parts);
  return withLock(config, () => writeAlone(config, path));
}

async function follow(dataDir: string, host: string, path: string, io: Io): Promise<BackupProgress> {
  let progress = (await askHost(dataDir, host, 'POST', '/backup', { path })) as BackupProgress;
  for (let told = performance.now(); progress.state === 'running'; ) {
    await pause(LOOK_MS);
    progress = (await askHost(dataDir, host, 'GET', '/backup')) as BackupProgress;
    if (performance.now() - told < TELL_MS) continue;
    told = performance.now();
    io.error(`${count(progress.rows, 'row')}, ${size(progress.bytes)}`);
  }
  return progress;
}

async function withLock<T>(config: Config, work: () => Promise<T>): Promise<T> {
  const hosts = Object.keys(config.hosts);
  const taken: { readonly host: string; readonly lock: Awaited<ReturnType<typeof takeDataDir>> }[] = [];
  try {
    for (const host of hosts) taken.push({ host, lock: await takeDataDir(config.dataDir, host) });
    return await work();
  } finally {
    for (const { host, lock } of taken) await leaveDataDir(lock, config.dataDir, host);
  }
}

async function writeAlone(config: Config, path: string): Promise<BackupProgress> {
  const { dataDir } = config;
  const closed = await closedDatabases(config, parts);
  const databases = new Map<string, Storage>([...closed].map(([name, { open }]) => [name, open()]));
  try {
    for (const [name, storage] of databases) {
      await storage.start();
      if (closed.get(name)!.module !== null) await requireUsed(name, storage);
    }
    const backups = new Backups({ ...probe(dataDir), participants: () => [{ name: 'this command', desk: new OwnDesk({ databases }) }], expected: [...databases.keys()] });
    backups.begin(path);
    return await backups.ended();
  } finally {
    for (const storage of databases.values()) await storage.stop(STOP_MS);
  }
}

function size(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
