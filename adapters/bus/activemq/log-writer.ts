import { Fault } from '../../../src/kernel/fault.ts';
import type { Connection } from './connection.ts';
import type { Writes } from './logged-statements.ts';
import type { Place, SegmentLog } from './segment-log.ts';

/** A log that is written to, and where its next record goes. */
export interface OpenLog {
  readonly tail: SegmentLog;
  place: Place;
}

interface Unconfirmed {
  readonly number: number;
  readonly text: string;
  resolve(): void;
  /** The connection has ended first. */
  reject(fault: unknown): void;
}

/** Records on their way, and what they hold together. */
const MOST_UNCONFIRMED = 64;
const MOST_UNCONFIRMED_CHARACTERS = 16 * 1024 * 1024;
/** What one piece of the log holds, its first record apart. */
const CHARACTERS_AT_ONCE = 1024 * 1024;

export interface LogWriterOptions {
  /** Throws while there is none. */
  readonly connection: () => Connection;
  /** Told of each piece that the log has taken. */
  readonly grew: (characters: number) => void;
}

/**
 * The way of records to the log on the broker, in their order. What comes up while the broker writes goes along with the
 * next piece. What is not confirmed when the connection ends is kept, and looked for when there is another.
 */
export class LogWriter {
  readonly #options: LogWriterOptions;
  #logs: readonly OpenLog[] = [];
  /** Committed here, and not known to be in the log. */
  #unconfirmed: Unconfirmed[] = [];
  #bringing: Promise<void> | undefined;
  #sure = { record: 0, segment: 0 };

  constructor(options: LogWriterOptions) {
    this.#options = options;
  }

  /** The last record that is known to be in the log, and the segment in which the one behind it begins. */
  get sure(): { readonly record: number; readonly segment: number } {
    return this.#sure;
  }

  /** Undefined while there is no log. */
  get log(): OpenLog | undefined {
    return this.#logs[0];
  }

  get isCrowded(): boolean {
    return this.#unconfirmed.length > MOST_UNCONFIRMED || this.#unconfirmed.reduce((sum, { text }) => sum + text.length, 0) > MOST_UNCONFIRMED_CHARACTERS;
  }

  /** Goes on in this log, in which `record` is the last; whatever lies behind that is brought to it. */
  goOn(log: OpenLog, sure: { readonly record: number; readonly segment: number }): void {
    this.#logs = [log];
    this.#sure = sure;
    this.#unconfirmed = this.#unconfirmed.filter(({ number }) => number > sure.record);
    // One that ended with its connection may not have noticed yet.
    void this.settled().then(() => this.#bring());
  }

  /** What is written from now on goes to this one as well, until `goOn`, or nothing comes of it. */
  alsoTo(log: OpenLog | undefined): void {
    const [first] = this.#logs;
    this.#logs = [first, log].filter((one) => one !== undefined);
  }

  /** Resolves when the log has it; rejects when the connection ends first, and the record is kept. */
  write(number: number, writes: Writes): Promise<void> {
    const { promise: confirmed, resolve, reject } = Promise.withResolvers<void>();
    confirmed.catch(() => {});
    this.#unconfirmed.push({ number, text: JSON.stringify(writes), resolve, reject });
    void this.#bring();
    return confirmed;
  }

  /** Resolves when nothing is on its way any more. */
  async settled(): Promise<void> {
    await this.#bringing;
  }

  /** Resolves when the log has everything; `unavailable` when the connection ends first. Nobody writes meanwhile. */
  async flush(): Promise<void> {
    await this.#bring();
    if (this.#unconfirmed.length > 0) throw new Fault('unavailable', 'The broker has not taken everything.', { reason: 'broker_away', origin: 'unsent' });
  }

  #bring(): Promise<void> {
    return (this.#bringing ??= this.#bringAll().finally(() => (this.#bringing = undefined)));
  }

  async #bringAll(): Promise<void> {
    try {
      while (this.#unconfirmed.length > 0) await this.#bringNext();
    } catch {
      // Those who wait for it have been told.
    }
  }

  async #bringNext(): Promise<void> {
    let characters = 0;
    const end = this.#unconfirmed.findIndex(({ text }, at) => (characters += text.length) > CHARACTERS_AT_ONCE && at > 0);
    const batch = this.#unconfirmed.slice(0, end === -1 ? undefined : end);
    const record = { number: batch.at(-1)!.number, text: `[${batch.map(({ number, text }) => `[${number},${text}]`).join()}]` };
    const logs = this.#logs;
    const made = logs.map(({ tail, place }) => tail.frames(record, place));
    logs.forEach((log, at) => (log.place = made[at]!.next));
    try {
      await this.#options.connection().deliver(made.flatMap(({ frames }) => frames));
    } catch (fault) {
      // Also those that were not on their way: they are committed here, and will be brought.
      for (const { reject } of this.#unconfirmed) reject(fault);
      throw fault;
    }
    this.#unconfirmed.splice(0, batch.length);
    if (logs[0] === this.#logs[0]) this.#sure = { record: record.number, segment: made[0]!.next.segment };
    for (const { resolve } of batch) resolve();
    this.#options.grew(record.text.length);
  }
}
