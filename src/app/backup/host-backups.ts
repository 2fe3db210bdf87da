import { createHmac } from 'node:crypto';
import { systemClock } from '../../kernel/clock.ts';
import type { Log } from '../../kernel/telemetry.ts';
import type { Storage } from '../../ports/storage.ts';
import type { Config } from '../config/config.ts';
import { installationSecret } from '../host/installation.ts';
import { Backups } from './backups.ts';
import { expectedDatabases, type LiveHost, liveProblem } from './databases.ts';
import type { BackupDesk } from './desk.ts';
import { JointDesk } from './joint-desk.ts';
import type { Participant } from './moment.ts';
import { OwnDesk } from './own-desk.ts';

export interface HostBackupsOptions {
  readonly config: Config;
  readonly host: string;
  /** Open on the main thread, by their names. */
  readonly databases: ReadonlyMap<string, Storage>;
  /** That of the messages, while this process keeps them. */
  readonly messages: () => Storage | undefined;
  readonly live: () => LiveHost;
  /** Of the modules on threads. */
  readonly threads: () => readonly BackupDesk[];
  /** The other processes of the topology. */
  readonly others: () => readonly Participant[];
  readonly log: Log;
}

/** What a process has to do with backups: those that it takes, and its desk for those that others take. */
export function hostBackups({ config, host, databases, messages, live, threads, others, log }: HostBackupsOptions): { readonly desk: BackupDesk; readonly backups: Backups } {
  const { dataDir } = config;
  const own = new OwnDesk({ databases, messages, problem: () => liveProblem(live()) });
  const prove = (backup: string) => createHmac('sha256', installationSecret(dataDir)).update(`backup ${backup}`).digest('hex');
  const desk = new JointDesk(() => [own, ...threads()], prove);
  const participants = () => [{ name: `host ${host}`, desk }, ...others()];
  return { desk, backups: new Backups({ dataDir, participants, prove, expected: expectedDatabases(config), clock: systemClock, log }) };
}
