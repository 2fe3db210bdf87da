import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { systemCall } from '../../kernel/call.ts';
import { Fault, toFault } from '../../kernel/fault.ts';
import { backupDesk, type BackupDesk, HOLD_MS, type OpenDatabases, type Shown, SILENT_MS } from './desk.ts';
import { LineSplitter } from './line-splitter.ts';

const TRIES = 5;
const BETWEEN_TRIES_MS = 200;
const KEEP_MS = SILENT_MS / 3;

/** A process that takes part in a backup. */
export interface Participant {
  /** For people: `this host`, `host mailer (10.0.0.2:7070)`. */
  readonly name: string;
  /** Or why it cannot be asked. */
  readonly desk: BackupDesk | Fault;
}

export interface Taking {
  /** All that may have a database open, as they are known just now; the one that takes the backup is the first. */
  readonly participants: () => readonly Participant[];
  /** Databases without which it would not be whole. */
  readonly expected: readonly string[];
  /** What shows the others that this is their installation; left out where none is asked to. */
  readonly prove?: (backup: string) => string;
  /** For tests. */
  readonly holdMs?: number;
}

/** One database as it was at the moment. */
export interface Source extends Shown {
  /** The rows of a table as they are written, some at a time. */
  lines(table: string): AsyncIterable<readonly string[]>;
}

export interface Moment {
  readonly sources: readonly Source[];
  /** For how long somebody could not write. */
  readonly heldMs: number;
  /** Lets go of what was opened. */
  close(): Promise<void>;
}

/**
 * All databases of an installation as they are at one instant, whichever processes have them open: what a power cut
 * would leave that hits them together. A transaction that does nothing takes the writer's place in each. Once all
 * processes say that they stand still nothing is being committed anywhere; then each fixes what is committed; and
 * all that say, when they are let go, that they stood still until then have done so at one instant at least. So a
 * message that one database says it has sent is in that database, in the bus's or in the receiver's, and none has an
 * effect whose cause is missing. Each process lets go by itself after a second, whatever becomes of this one.
 * Faults: `conflict`/`backup_impossible`, `unavailable`/`no_moment` when they could not be held together five times in a row.
 */
export async function momentOf(taking: Taking): Promise<Moment> {
  for (let tries = 1; ; tries++) {
    let attempt: Attempt | undefined;
    try {
      attempt = new Attempt(await sharesOf(taking), taking);
      return await attempt.take();
    } catch (error) {
      await attempt?.close();
      if (isFinal(error)) throw error;
      if (tries === TRIES) throw new Fault('unavailable', `The databases could not be held at one moment for a backup: ${(error as Error).message} Try again when the disk has less to do.`, { reason: 'no_moment', cause: error });
      await pause(BETWEEN_TRIES_MS);
    }
  }
}

/** What one process is asked for. */
interface Share {
  readonly participant: string;
  readonly desk: BackupDesk;
  readonly databases: readonly string[];
}

class Attempt {
  readonly #backup = randomUUID();
  readonly #proof: string;
  readonly #shares: readonly Share[];
  readonly #holdMs: number;
  #keeping: NodeJS.Timeout | undefined;

  constructor(shares: readonly Share[], { prove, holdMs = HOLD_MS }: Taking) {
    this.#proof = prove?.(this.#backup) ?? '';
    this.#shares = shares;
    this.#holdMs = holdMs;
  }

  async take(): Promise<Moment> {
    const backup = this.#backup;
    await this.#each('hold', ({ desk, databases }, call) => desk.hold({ backup, proof: this.#proof, databases: [...databases], mostMs: this.#holdMs }, call));
    await this.#each('open', ({ desk }, call) => desk.open({ backup }, call));
    const released = await this.#each('release', ({ desk }, call) => desk.release({ backup }, call));
    if (released.some(({ held }) => !held)) throw new Fault('deadline', 'Some had stood still for long enough before others came to rest.', { reason: 'hold_over' });
    this.#keeping = setInterval(() => void this.#each('keep', ({ desk }, call) => desk.keep({ backup }, call)).catch(() => {}), KEEP_MS).unref();
    const shown = await this.#each('show', async (share, call) => (await share.desk.show({ backup }, call)).databases.map((database) => this.#source(share, database)));
    return { sources: shown.flat(), heldMs: Math.max(0, ...released.map(({ heldMs }) => heldMs)), close: () => this.close() };
  }

  /** What cannot be reached lets go by itself. */
  async close(): Promise<void> {
    clearInterval(this.#keeping);
    await this.#each('close', ({ desk }, call) => desk.close({ backup: this.#backup }, call).catch(() => {}));
  }

  #each<T>(operation: keyof BackupDesk, work: (share: Share, call: ReturnType<typeof systemCall>) => Promise<T>): Promise<T[]> {
    return Promise.all(this.#shares.map((share) => work(share, callFor(operation)).catch((thrown: unknown) => Promise.reject(from(share.participant, thrown)))));
  }

  #source({ participant, desk }: Share, database: Shown): Source {
    const backup = this.#backup;
    return {
      ...database,
      async *lines(table) {
        const read = () => {
          const reading = desk.read({ backup, database: database.name, table }, callFor('read'));
          // It is on its way while the piece before it is written, which may fail first.
          reading.catch(() => {});
          return reading;
        };
        const splitter = new LineSplitter();
        try {
          for (let reading = read(); ; ) {
            const { text, more } = await reading;
            if (!more) return;
            reading = read();
            const lines = splitter.take(text);
            if (lines.length > 0) yield lines;
          }
        } catch (thrown) {
          throw from(participant, thrown);
        }
      },
    };
  }
}

function callFor(operation: keyof BackupDesk): ReturnType<typeof systemCall> {
  return systemCall('backup', null, Date.now() + backupDesk.operations[operation].timeoutMs);
}

/** Says which process it was. */
function from(participant: string, thrown: unknown): Fault {
  const { code, message, reason, details, origin } = toFault(thrown);
  return new Fault(code, `${participant}: ${message}`, { reason, details, origin, cause: thrown });
}

/** What no second try changes. */
function isFinal(error: unknown): boolean {
  return Fault.is(error) && (error.code === 'conflict' || error.code === 'denied');
}

/** Who is asked for what: each database once, though several processes may have it open. */
async function sharesOf({ participants, expected }: Taking): Promise<Share[]> {
  const asked = await Promise.all(participants().map(async ({ name, desk }) => ({ name, desk, answer: await databasesOf(desk) })));
  const taken = new Set<string>();
  const shares: Share[] = [];
  for (const { name, desk, answer } of asked) {
    if (Fault.is(answer) || Fault.is(desk)) continue;
    if (answer.problem !== null) throw impossible(`${name}: ${answer.problem}`);
    const databases = answer.databases.filter((database) => !(database.shared && taken.has(database.name))).map((database) => database.name);
    const twice = databases.find((database) => taken.has(database));
    if (twice !== undefined) throw new Fault('unavailable', `Two processes have the database ${twice}, one of them ${name}.`, { reason: 'two_databases' });
    for (const database of databases) taken.add(database);
    if (databases.length > 0) shares.push({ participant: name, desk, databases });
  }
  const missing = expected.filter((name) => !taken.has(name));
  if (missing.length === 0) return shares;
  const away = asked.flatMap(({ name, answer }) => (Fault.is(answer) ? [`${name}: ${answer.message}`] : []));
  throw impossible(`Nobody who can be asked has these databases open: ${missing.join(', ')}.${away.length === 0 ? '' : ` Cannot be asked: ${away.join('; ')}.`} Start what is missing.`);
}

async function databasesOf(desk: BackupDesk | Fault): Promise<OpenDatabases | Fault> {
  return Fault.is(desk) ? desk : desk.databases({}, callFor('databases')).catch(toFault);
}

function impossible(message: string): Fault {
  return new Fault('conflict', message, { reason: 'backup_impossible' });
}
