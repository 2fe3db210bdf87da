import { timingSafeEqual } from 'node:crypto';
import type { Call } from '../../kernel/call.ts';
import { Fault } from '../../kernel/fault.ts';
import { allTried } from '../../kernel/lifecycle.ts';
import type { BackupDesk, HoldRequest, Nothing, OfBackup, OpenDatabases, Piece, ReadRequest, Released, Shown } from './desk.ts';

/** Who has which of the databases of a backup. */
type Shares = ReadonlyMap<BackupDesk, readonly string[]>;

/** The desks of a process as one: that of its main thread, and those of its modules on threads. */
export class JointDesk implements BackupDesk {
  readonly #desks: () => readonly BackupDesk[];
  readonly #prove: ((backup: string) => string) | undefined;
  /** By backup: the one that is under way, and one more while it is being refused. */
  #backups = new Map<string, Shares>();

  /** `prove` says what only whoever has the installation's secret can say of a backup; left out: anybody may take one. */
  constructor(desks: () => readonly BackupDesk[], prove?: (backup: string) => string) {
    this.#desks = desks;
    this.#prove = prove;
  }

  async databases(request: Nothing, call: Call): Promise<OpenDatabases> {
    const all = await Promise.all(this.#desks().map((desk) => desk.databases(request, call)));
    return { problem: all.find(({ problem }) => problem !== null)?.problem ?? null, databases: all.flatMap(({ databases }) => databases) };
  }

  async hold({ backup, proof, databases: wanted, mostMs }: HoldRequest, call: Call): Promise<Nothing> {
    if (this.#prove !== undefined && !isSame(this.#prove(backup), proof)) throw new Fault('denied', 'It has another installation.json than the host that takes the backup.');
    const shares = await this.#sharesOf(wanted, call);
    this.#backups.set(backup, shares);
    try {
      await Promise.all([...shares].map(([desk, databases]) => desk.hold({ backup, proof, databases: [...databases], mostMs }, call)));
    } catch (error) {
      await this.close({ backup }, call);
      throw error;
    }
    // The desks take one at a time: whatever was here before has come to an end, and maybe without a word.
    this.#backups = new Map([[backup, shares]]);
    return {};
  }

  async open(request: OfBackup, call: Call): Promise<Nothing> {
    await this.#each(request, (desk) => desk.open(request, call));
    return {};
  }

  async release(request: OfBackup, call: Call): Promise<Released> {
    const all = await this.#each(request, (desk) => desk.release(request, call));
    return { held: all.every(({ held }) => held), heldMs: Math.max(...all.map(({ heldMs }) => heldMs)) };
  }

  async show(request: OfBackup, call: Call): Promise<{ databases: Shown[] }> {
    const all = await this.#each(request, (desk) => desk.show(request, call));
    return { databases: all.flatMap(({ databases }) => databases) };
  }

  async read(request: ReadRequest, call: Call): Promise<Piece> {
    const [desk] = [...this.#of(request)].find(([, databases]) => databases.includes(request.database)) ?? [];
    if (desk === undefined) throw new Fault('not_found', `There is no database ${request.database} in this backup.`);
    return desk.read(request, call);
  }

  async keep(request: OfBackup, call: Call): Promise<Nothing> {
    await this.#each(request, (desk) => desk.keep(request, call));
    return {};
  }

  async close({ backup }: OfBackup, call: Call): Promise<Nothing> {
    const desks = [...(this.#backups.get(backup)?.keys() ?? [])];
    this.#backups.delete(backup);
    await allTried(desks.map((desk) => desk.close({ backup }, call)));
    return {};
  }

  async #sharesOf(wanted: readonly string[], call: Call): Promise<Shares> {
    const all = await Promise.all(this.#desks().map(async (desk) => [desk, (await desk.databases({}, call)).databases.map(({ name }) => name)] as const));
    return new Map(all.map(([desk, names]) => [desk, names.filter((name) => wanted.includes(name))] as const).filter(([, names]) => names.length > 0));
  }

  #each<T>(request: OfBackup, work: (desk: BackupDesk) => Promise<T>): Promise<T[]> {
    return Promise.all([...this.#of(request).keys()].map(work));
  }

  #of({ backup }: OfBackup): Shares {
    const shares = this.#backups.get(backup);
    if (shares === undefined) throw new Fault('not_found', 'This backup is over, or has never begun.', { reason: 'backup_over' });
    return shares;
  }
}

function isSame(expected: string, given: string): boolean {
  const [one, other] = [Buffer.from(expected), Buffer.from(given)];
  return one.length === other.length && timingSafeEqual(one, other);
}
