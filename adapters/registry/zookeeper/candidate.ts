import type { Log } from '../../../src/kernel/telemetry.ts';
import type { Election } from '../../../src/ports/registry.ts';
import { Coalesced } from './coalesced.ts';
import type { Session } from './session.ts';

interface Standing {
  readonly session: Session;
  /** Of this candidate's node. */
  readonly path: string;
}

interface Leading extends Standing {
  readonly token: bigint;
}

/**
 * One who stands for an office: with a node of the session's, numbered by ZooKeeper. Whose number is lowest leads; each
 * other watches the one just before it, so that an end wakes one and not all. The token is the transaction that made the
 * node (czxid): who made one later has the higher number and the higher token, and leads later.
 *
 * A leader is one only while its session is surely alive, which is asked at each reading of `token` and needs no timer:
 * a process that was frozen, or an event loop that was blocked, does not lead for the one moment before it notices.
 */
export class Candidate implements Election {
  onChange: (() => void) | undefined;
  readonly #office: string;
  readonly #prefix: string;
  readonly #log: Log;
  readonly #onResign: () => void;
  readonly #work = new Coalesced(() => this.#run());
  readonly #look = (): void => void this.#work.ask();
  #session: Session | undefined;
  #standing: Standing | undefined;
  #leading: Leading | undefined;
  #told: bigint | undefined;
  #resigned = false;

  /** `office`: its path. `instance`: of this process, so that it knows what it left behind. */
  constructor(office: string, instance: string, log: Log, onResign: () => void) {
    this.#office = office;
    this.#prefix = `${instance}-`;
    this.#log = log;
    this.#onResign = onResign;
  }

  get token(): bigint | undefined {
    return this.#leading?.session.alive ? this.#leading.token : undefined;
  }

  async resign(): Promise<void> {
    this.#resigned = true;
    this.#lead(undefined);
    this.#onResign();
    await this.#work.ask();
  }

  attach(session: Session): void {
    this.#session = session;
    this.#look();
  }

  detach(): void {
    this.#session = undefined;
    this.#standing = undefined;
    this.#lead(undefined);
  }

  /** Looks again, whatever the watches say. */
  check(): void {
    this.#look();
  }

  async #run(): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    try {
      if (this.#resigned) await this.#leave(session);
      else await this.#stand(session);
    } catch (thrown) {
      session.fail(thrown);
    }
  }

  async #stand(session: Session): Promise<void> {
    const path = this.#standing?.session === session ? this.#standing.path : await this.#enter(session);
    const own = await session.read(path, this.#look);
    if (!own) {
      // Somebody has removed it; at the next look this one stands again, at the end of the line.
      this.#standing = undefined;
      this.#lead(undefined);
      return this.#look();
    }
    const before = predecessor(await session.children(this.#office), path.slice(path.lastIndexOf('/') + 1));
    if (before === undefined) return this.#lead({ session, path, token: own.stat.czxid.readBigInt64BE() });
    this.#lead(undefined);
    // Gone between the two requests: nobody will wake us.
    if (!(await session.read(`${this.#office}/${before}`, this.#look))) this.#look();
  }

  /** What this process left in sessions before would only hold up everybody, itself too. */
  async #enter(session: Session): Promise<string> {
    await session.ensure(this.#office);
    await this.#removeOwn(session);
    const path = await session.createEphemeral(`${this.#office}/${this.#prefix}`, Buffer.alloc(0), { sequential: true });
    if (this.#session === session) this.#standing = { session, path };
    return path;
  }

  async #leave(session: Session): Promise<void> {
    this.#standing = undefined;
    await this.#removeOwn(session);
  }

  async #removeOwn(session: Session): Promise<void> {
    if (!(await session.read(this.#office))) return;
    const names = await session.children(this.#office);
    for (const name of names) if (name.startsWith(this.#prefix)) await session.remove(`${this.#office}/${name}`);
  }

  #lead(leading: Leading | undefined): void {
    // Whoever resigned, or lost the session, while the answer was on its way does not begin to lead.
    const held = leading !== undefined && !this.#resigned && this.#session === leading.session ? leading : undefined;
    this.#leading = held;
    if (held?.token === this.#told) return;
    this.#told = held?.token;
    try {
      this.onChange?.();
    } catch (err) {
      this.#log.error({ err }, 'what follows an election failed');
    }
  }
}

/** The candidate just before `own`; undefined when there is none. Names that no Candidate makes do not count. */
function predecessor(names: readonly string[], own: string): string | undefined {
  const limit = numberOf(own)!;
  let nearest: { readonly name: string; readonly number: number } | undefined;
  for (const name of names) {
    const number = numberOf(name);
    if (number !== undefined && number < limit && (nearest === undefined || number > nearest.number)) nearest = { name, number };
  }
  return nearest?.name;
}

function numberOf(name: string): number | undefined {
  const [, digits] = /^[0-9a-f-]{36}-(\d{10})$/.exec(name) ?? [];
  return digits === undefined ? undefined : Number(digits);
}
