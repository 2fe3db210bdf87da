import { Fault } from '../../../src/kernel/fault.ts';
import type { Statement, Storage, StorageTransaction } from '../../../src/ports/storage.ts';
import type { Engine } from './engine.ts';

/** What one transaction wrote: statements by name with their parameters. */
export type Writes = readonly (readonly [name: string, parameters: unknown])[];

/** The statements of an engine by the names under which they stand in the log. */
export class LoggedStatements {
  readonly #byName: Engine['statements'];
  readonly #progress: Engine['progress'];
  readonly #names: ReadonlyMap<Statement<any, any>, string>;
  readonly #writing = new WeakMap<Statement<any, any>, boolean>();

  constructor({ statements, progress }: Pick<Engine, 'statements' | 'progress'>) {
    this.#byName = statements;
    this.#progress = progress;
    this.#names = new Map(Object.entries(statements).map(([name, one]) => [one, name]));
  }

  /** A transaction that also notes in `writes` what it writes. */
  recording(tx: StorageTransaction<any>, writes: (readonly [string, unknown])[]): StorageTransaction<any> {
    return {
      db: tx.db,
      position: tx.position,
      run: (one, params) => {
        if (this.#isWrite(one, tx.db)) writes.push([this.#nameOf(one), params]);
        return tx.run(one, params);
      },
      runMany: (one, all) => {
        if (this.#isWrite(one, tx.db)) for (const params of all) writes.push([this.#nameOf(one), params]);
        return tx.runMany(one, all);
      },
    };
  }

  async replay(tx: StorageTransaction<any>, writes: Writes): Promise<void> {
    for (const [name, parameters] of writes) {
      const one = this.#byName[name];
      if (one === undefined) throw new Fault('unavailable', `The log on the broker holds ${name}, which this version does not know; a newer one has written it.`, { reason: 'storage', origin: 'unsent' });
      await tx.run(one, parameters);
    }
  }

  /** Nobody waits for the log to have these. */
  areProgress(writes: Writes): boolean {
    return writes.every(([name]) => this.#progress.has(name));
  }

  #nameOf(one: Statement<any, any>): string {
    const name = this.#names.get(one);
    // Another process could never make it, and the copies would differ.
    if (name === undefined) throw new Fault('internal', 'The engine writes with a statement that has no name in the log.', { reason: 'storage', origin: 'unsent' });
    return name;
  }

  #isWrite(one: Statement<any, any>, db: Storage['db']): boolean {
    let writes = this.#writing.get(one);
    if (writes === undefined) {
      writes = !/^\s*select/i.test(one.build(db).compile().sql);
      this.#writing.set(one, writes);
    }
    return writes;
  }
}
