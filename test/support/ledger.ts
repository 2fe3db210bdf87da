import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { openLedger } from './storage-writer.ts';

const WRITER = join(import.meta.dirname, 'storage-writer.js');

export interface WriterOptions {
  readonly dataDir: string;
  readonly prefix: string;
  readonly inFlight?: number;
  readonly transactions?: number;
  readonly bytes?: number;
  readonly settings?: object;
  /** A program and its arguments in front of node, e.g. strace. */
  readonly under?: readonly string[];
}

/** The writing process as its tests see it: what it was told, as far as it has said so. */
export class Writer {
  readonly acknowledged = new Set<string>();
  /** By id: `code origin`. */
  readonly failed = new Map<string, string>();
  /** Warnings in its log. */
  warnings = 0;
  readonly child: ChildProcess;
  readonly #waiting: { readonly met: () => boolean; readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  #ready = false;
  #exit: string | undefined;
  #errors = '';
  readonly ended: Promise<void>;

  constructor({ dataDir, prefix, inFlight = 50, transactions = 1_000_000_000, bytes = 300, settings = {}, under = [] }: WriterOptions) {
    const [command, ...args] = [...under, process.execPath, WRITER, dataDir, prefix, String(inFlight), String(transactions), String(bytes), JSON.stringify(settings)];
    this.child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.child.stderr!.on('data', (text: Buffer) => (this.#errors = (this.#errors + text.toString()).slice(-4_000)));
    createInterface({ input: this.child.stdout! }).on('line', (line) => this.#hear(line));
    this.ended = once(this.child, 'close').then(([code, signal]) => {
      this.#exit = `ended with ${code ?? signal}: ${this.#errors}`;
      this.#look();
    });
  }

  ready(): Promise<void> {
    return this.until(() => this.#ready);
  }

  /** Rejects when the process ends before. */
  until(met: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ met, resolve, reject });
      this.#look();
    });
  }

  /** The whole group, so that what runs under strace goes with it. */
  async kill(): Promise<void> {
    try {
      process.kill(-this.child.pid!, 'SIGKILL');
    } catch {
      // It is gone already.
    }
    await this.ended;
  }

  #hear(line: string): void {
    const [word, id, code, origin] = line.split(' ');
    if (word === 'ready') this.#ready = true;
    else if (word === 'warned') this.warnings++;
    else if (word === 'ok') this.acknowledged.add(id!);
    else if (word === 'failed') this.failed.set(id!, `${code} ${origin}`);
    this.#look();
  }

  #look(): void {
    for (const waiting of this.#waiting.splice(0)) {
      if (waiting.met()) waiting.resolve();
      else if (this.#exit !== undefined) waiting.reject(new Error(`The writer ${this.#exit}`));
      else this.#waiting.push(waiting);
    }
  }
}

export interface Found {
  readonly ids: Set<string>;
  /** Acknowledged and not there. */
  lost(acknowledged: Iterable<string>): string[];
}

/** Opens the ledger as the next start would and reads it; that every transaction is whole is checked here. */
export async function readLedger(dataDir: string): Promise<Found> {
  const storage = await openLedger(dataDir);
  try {
    const rows = await storage.db.selectFrom('entries').select('id').execute();
    const [total] = await storage.db.selectFrom('totals').selectAll().execute();
    assert.equal(total!.entries, rows.length, 'a transaction is there in part');
    const ids = new Set(rows.map((row) => row.id));
    return { ids, lost: (acknowledged) => [...acknowledged].filter((id) => !ids.has(id)) };
  } finally {
    await storage.stop(5_000);
  }
}
