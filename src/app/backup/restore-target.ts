import { rowLine, RowSum } from '../../fabric/row-sum.ts';
import { contentTables, migrationsIn } from '../../fabric/storage-tables.ts';
import { Fault } from '../../kernel/fault.ts';
import { type Migration, statement, type Storage, type TableShape, UNFINISHED } from '../../ports/storage.ts';
import { BootProblem } from '../host/boot-problem.ts';
import { keptColumns, type TableHead, type TableSum, valuesOf } from './format.ts';

const TRANSACTION_MS = 60_000;
/** A host refuses a database that has been through it. */
const begun: Migration = { name: UNFINISHED, up: async () => {} };

/**
 * A database that is being filled from a backup. From its first step to its last no host starts on it, from whatever
 * data directory.
 */
export class RestoreTarget {
  readonly name: string;
  readonly storage: Storage;
  /** Of this build; null for a driver's own database, which is in place. */
  readonly #known: readonly Migration[] | null;
  readonly #migrations: readonly string[];
  #tables: readonly TableShape[] = [];
  /** Another restore has left something. */
  #isLeft = false;

  /** `migrations` are those of the backup. */
  constructor(name: string, storage: Storage, known: readonly Migration[] | null, migrations: readonly string[]) {
    this.name = name;
    this.storage = storage;
    this.#known = known;
    this.#migrations = migrations;
  }

  /** Writes nothing. @throws BootProblem when something is in it that no unfinished restore has left. */
  async requireEmpty(): Promise<void> {
    const { tables, migrations } = await this.#look();
    if (this.#known === null || tables.length === 0) return;
    const { place } = this.storage.contents;
    if (!migrations.includes(UNFINISHED)) throw new BootProblem(`The database of ${this.name} is not empty (${place}). A restore overwrites nothing.`, 'Name another schema or database in storage, or drop the schema.');
    const other = migrations.find((one) => one !== UNFINISHED && !this.#migrations.includes(one));
    if (other !== undefined) throw new BootProblem(`In the database of ${this.name} (${place}) lies what is left of the restore of another backup, which knew ${other}.`, 'Drop the schema, and restore again.');
    this.#isLeft = true;
  }

  /** @throws BootProblem when it is not the one that a restore has filled. */
  async requireFilled(): Promise<void> {
    const { migrations } = await this.#look();
    if (migrations.filter((one) => one !== UNFINISHED).join() === this.#migrations.join()) return;
    throw new BootProblem(`This backup has been restored up to the last step, and into another database than that of ${this.name} here (${this.storage.contents.place}).`, 'Name the topology that the restore was begun with; or empty the folder, and restore anew.');
  }

  /** Brings it to where the backup's was, with no rows. */
  async prepare(): Promise<void> {
    if (this.#known === null) {
      const { migrations } = await this.#look();
      if (migrations.join() !== this.#migrations.join()) throw new BootProblem(`The database ${this.name} of the backup is not of the same build as this one.`, 'Restore it with the build that wrote it, and upgrade afterwards.');
    } else {
      await this.storage.migrate([begun, ...this.#known.filter(({ name }) => this.#migrations.includes(name))]);
      if (this.#isLeft) for (const { name } of (await contentTables(this.storage)).reverse()) await this.storage.transaction((tx) => tx.db.deleteFrom(name).execute(), { timeoutMs: TRANSACTION_MS });
    }
    this.#tables = await contentTables(this.storage);
  }

  /** What takes the rows of a table. @throws BootProblem when there is no such table, or not with these columns. */
  inserter({ table, columns }: TableHead): (rows: readonly unknown[][]) => Promise<void> {
    const shape = this.#tables.find(({ name }) => name === table);
    if (shape === undefined || keptColumns(shape).sort().join() !== [...columns].sort().join()) throw new BootProblem(`The table ${table} of ${this.name} is another one in the backup than in this build, though both have been through the same migrations.`, 'Take another backup; this one was not written by "multilith backup".');
    const insert = statement<any, Record<string, unknown>>()((db, p) => db.insertInto(table).values(Object.fromEntries(columns.map((column) => [column, p(column)]))));
    return (rows) =>
      this.storage.transaction(async (tx) => {
        for (const row of rows) {
          const values = valuesOf(row);
          await tx.run(insert, Object.fromEntries(columns.map((column, at) => [column, values[at]])));
        }
      }, { timeoutMs: TRANSACTION_MS });
  }

  /** What it holds now, with what the backup holds. */
  async compare({ table, rows, hash }: TableSum): Promise<void> {
    const snapshot = await this.storage.snapshot();
    try {
      const sum = new RowSum();
      const shape = snapshot.tables.find(({ name }) => name === table)!;
      const columns = keptColumns(shape);
      for await (const batch of snapshot.rows(shape)) for (const row of batch) sum.add(rowLine(row, columns));
      if (sum.rows === rows && sum.hash === hash) return;
      throw new Fault('internal', `The table ${table} of ${this.name} does not hold what the backup does: ${sum.rows} rows of ${rows}.`, { reason: 'restore_differs' });
    } finally {
      await snapshot.close();
    }
  }

  /** Hosts may start on it. */
  async finish(): Promise<void> {
    if (this.#known !== null) await this.storage.transaction((tx) => tx.db.deleteFrom('migrations').where('name', '=', UNFINISHED).execute());
  }

  async #look(): Promise<{ readonly tables: readonly TableShape[]; readonly migrations: string[] }> {
    const snapshot = await this.storage.snapshot();
    try {
      return { tables: snapshot.tables, migrations: await migrationsIn(snapshot) };
    } finally {
      await snapshot.close();
    }
  }
}
