import { setTimeout as pause } from 'node:timers/promises';
import { Fault } from '../../kernel/fault.ts';
import { rowLine } from '../../fabric/row-sum.ts';
import { CONTENTS_LEFT_OUT, migrationsIn } from '../../fabric/storage-tables.ts';
import type { Snapshot, Storage, TableShape } from '../../ports/storage.ts';
import { type BackupDesk, type HoldRequest, type Nothing, type OfBackup, type OpenDatabases, type Piece, type ReadRequest, type Released, type Shown, SILENT_MS } from './desk.ts';
import { BUS, keptColumns } from './format.ts';
import { Hold } from './hold.ts';

/** Few enough that turning them into text does not hold up the event loop. */
const BATCH_ROWS = 200;
/** Of one answer: much less than what may cross between hosts, however many bytes a character takes. */
const MOST_CHARACTERS = 262_144;
const CLOSE_MS = 250;

export interface OwnDeskOptions {
  /** Open, by their names; as many as there are just now. */
  readonly databases: ReadonlyMap<string, Storage>;
  /** That of the messages, where and while this process keeps them. */
  readonly messages?: () => Storage | undefined;
  /** Why there can be no backup just now, for people. Left out: there always can. */
  readonly problem?: () => string | null;
}

/** The databases that a thread has open, for a backup. */
export class OwnDesk implements BackupDesk {
  readonly #options: OwnDeskOptions;
  #session: Session | undefined;

  constructor(options: OwnDeskOptions) {
    this.#options = options;
  }

  async databases(): Promise<OpenDatabases> {
    return { problem: this.#options.problem?.() ?? null, databases: [...this.#open()].map(([name, { capabilities: { shared } }]) => ({ name, shared })) };
  }

  async hold({ backup, databases, mostMs }: HoldRequest): Promise<Nothing> {
    if (this.#session !== undefined) throw new Fault('conflict', 'Another backup is under way.', { reason: 'backup_under_way' });
    const storages = new Map(databases.map((name) => [name, this.#storage(name)]));
    const session: Session = new Session(backup, storages, mostMs, () => void this.close({ backup }));
    this.#session = session;
    try {
      await session.stand();
    } catch (error) {
      await this.close({ backup });
      throw error;
    }
    return {};
  }

  async open(request: OfBackup): Promise<Nothing> {
    await this.#of(request).open();
    return {};
  }

  async release(request: OfBackup): Promise<Released> {
    return this.#of(request).hold.release();
  }

  async show(request: OfBackup): Promise<{ databases: Shown[] }> {
    return { databases: await this.#of(request).show() };
  }

  async read({ database, table, ...request }: ReadRequest): Promise<Piece> {
    return this.#of(request).read(database, table);
  }

  async keep(request: OfBackup): Promise<Nothing> {
    this.#of(request);
    return {};
  }

  async close({ backup }: OfBackup): Promise<Nothing> {
    const session = this.#session;
    if (session?.backup !== backup) return {};
    this.#session = undefined;
    await session.close();
    return {};
  }

  #of({ backup }: OfBackup): Session {
    if (this.#session?.backup !== backup) throw new Fault('not_found', 'This backup is over, or has never begun.', { reason: 'backup_over' });
    this.#session.heard();
    return this.#session;
  }

  #open(): ReadonlyMap<string, Storage> {
    const { databases, messages } = this.#options;
    const kept = messages?.();
    return kept === undefined ? databases : new Map([...databases, [BUS, kept]]);
  }

  #storage(name: string): Storage {
    const storage = this.#open().get(name);
    if (storage === undefined) throw new Fault('unavailable', `The database ${name} is not open here.`, { reason: 'not_open' });
    return storage;
  }
}

/** One backup, from its hold to its end. */
class Session {
  readonly backup: string;
  readonly hold: Hold;
  readonly #storages: ReadonlyMap<string, Storage>;
  readonly #silent: NodeJS.Timeout;
  readonly #snapshots = new Map<string, Promise<Snapshot>>();
  #reading: { readonly of: string; readonly text: AsyncGenerator<string, void, void> } | undefined;

  constructor(backup: string, storages: ReadonlyMap<string, Storage>, mostMs: number, onSilent: () => void) {
    this.backup = backup;
    this.hold = new Hold(mostMs);
    this.#storages = storages;
    this.#silent = setTimeout(onSilent, SILENT_MS).unref();
  }

  heard(): void {
    this.#silent.refresh();
  }

  async stand(): Promise<void> {
    await Promise.all([...this.#storages.values()].map((storage) => this.hold.enter(storage)));
  }

  async open(): Promise<void> {
    for (const [name, storage] of this.#storages) this.#snapshots.set(name, storage.snapshot());
    await this.hold.within(Promise.all(this.#snapshots.values()));
  }

  async show(): Promise<Shown[]> {
    const shown: Shown[] = [];
    for (const [name, opened] of this.#snapshots) {
      const snapshot = await opened;
      const tables = snapshot.tables.filter((table) => !CONTENTS_LEFT_OUT.has(table.name));
      shown.push({ name, migrations: await migrationsIn(snapshot), tables: tables.map(({ columns, key, ...table }) => ({ ...table, columns: [...columns], key: [...key] })) });
    }
    return shown;
  }

  async read(database: string, table: string): Promise<Piece> {
    const of = JSON.stringify([database, table]);
    if (this.#reading?.of !== of) {
      await this.#reading?.text.return();
      const snapshot = await this.#snapshots.get(database);
      const shape = snapshot?.tables.find(({ name }) => name === table);
      if (shape === undefined) throw new Fault('not_found', `There is no table ${table} of ${database} in this backup.`);
      this.#reading = { of, text: piecesOf(linesOf(snapshot!, shape)) };
    }
    const { value, done } = await this.#reading.text.next();
    if (done !== true) return { text: value, more: true };
    this.#reading = undefined;
    return { text: '', more: false };
  }

  async close(): Promise<void> {
    clearTimeout(this.#silent);
    this.hold.abandon();
    await this.#reading?.text.return();
    const closed = Promise.allSettled([...this.#snapshots.values()].map(async (opened) => (await opened).close()));
    // One that is still being opened may wait for a server that does not answer.
    await Promise.race([closed, pause(CLOSE_MS, undefined, { ref: false })]);
  }
}

/** The rows of a table, some at a time. */
async function* linesOf(snapshot: Snapshot, table: TableShape): AsyncGenerator<string, void, void> {
  const columns = keptColumns(table);
  for await (const rows of snapshot.rows(table, { batchRows: BATCH_ROWS })) yield `${rows.map((row) => rowLine(row, columns)).join('\n')}\n`;
}

/** The same text in pieces that may cross between hosts, none much shorter than it has to be. */
async function* piecesOf(texts: AsyncIterable<string>): AsyncGenerator<string, void, void> {
  let rest = '';
  for await (const text of texts) {
    rest += text;
    let at = 0;
    for (; rest.length - at >= MOST_CHARACTERS; ) {
      const end = cutAt(rest, at + MOST_CHARACTERS);
      yield rest.slice(at, end);
      at = end;
    }
    rest = rest.slice(at);
  }
  if (rest !== '') yield rest;
}

/** Never between the two halves of one character, which text on a wire does not survive. */
function cutAt(text: string, at: number): number {
  const before = text.charCodeAt(at - 1);
  return before >= 0xd800 && before <= 0xdbff ? at - 1 : at;
}
