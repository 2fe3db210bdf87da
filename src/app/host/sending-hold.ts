import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Clock, Timer } from '../../kernel/clock.ts';
import { BootProblem } from './boot-problem.ts';
import { replaceDurably, syncFolder } from './durable-file.ts';
import { installationText } from './installation.ts';
import { plainly, type Trouble } from './trouble.ts';

const FILE = 'sending-held.json';
/** How soon a running host goes on once it may. */
const LOOK_MS = 500;

const Held = z.object({
  /** When it was restored, ISO 8601. */
  since: z.string(),
  /** The moment that its backup held. */
  backup: z.string(),
});
export type Held = z.infer<typeof Held>;

/** Why nothing is sent from a data directory; undefined when it is. @throws BootProblem when that cannot be read. */
export function readHold(dataDir: string): Held | undefined {
  const path = join(dataDir, FILE);
  try {
    return Held.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new BootProblem(`${path} cannot be read. It says that sending is held.`, 'Give this user the right to read it; or remove it, and sending begins.', error);
  }
}

/** From now on no host that starts on the data directory sends. On disk when it resolves. */
export function holdSending(dataDir: string, held: Held): Promise<void> {
  return replaceDurably(join(dataDir, FILE), `${JSON.stringify(held)}\n`);
}

/** Lets hosts on the data directory send, running ones too. Twice does nothing. */
export async function releaseSending(dataDir: string): Promise<void> {
  await rm(join(dataDir, FILE), { force: true });
  await syncFolder(dataDir);
}

/** What a restored copy waits for: an operator who has looked at what it would send. */
export class SendingHold {
  readonly #dataDir: string;
  readonly #clock: Clock;
  readonly #waiting: (() => void)[] = [];
  #held: Held | undefined;
  #look: Timer | undefined;

  /** @throws BootProblem when it cannot be read. */
  constructor(dataDir: string, clock: Clock) {
    this.#dataDir = dataDir;
    this.#clock = clock;
    this.#held = readHold(dataDir);
  }

  /** Since when, and of what; undefined when nothing is held. */
  get held(): Held | undefined {
    return this.#held;
  }

  /** What whoever looks at the host is told of it. */
  get problems(): readonly Trouble[] {
    return this.#held === undefined ? [] : [plainly(holdText(this.#held))];
  }

  /** Calls `begin` once sending is released; not at all when `stop` comes first. To be asked for only while it is held. */
  afterRelease(begin: () => void): void {
    this.#waiting.push(begin);
    this.#look ??= this.#lookAgain();
  }

  stop(): void {
    this.#look?.cancel();
    this.#waiting.length = 0;
  }

  #lookAgain(): Timer {
    return this.#clock.after(LOOK_MS, () => {
      if (!isReleased(this.#dataDir)) {
        this.#look = this.#lookAgain();
        return;
      }
      this.#held = undefined;
      for (const begin of this.#waiting.splice(0)) begin();
    });
  }
}

/** A folder that is away, or cannot be read just now, has not been released. */
function isReleased(dataDir: string): boolean {
  try {
    return installationText(dataDir) !== undefined && readHold(dataDir) === undefined;
  } catch {
    return false;
  }
}

/** In words, for whoever looks at the host. */
export function holdText({ since, backup }: Held): string {
  return `Sending is held: this is a copy of ${backup}, restored at ${since}. "multilith sending" says what would go out.`;
}
