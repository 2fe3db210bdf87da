import type { Announcement } from '../../../src/ports/registry.ts';
import { encode } from './announcement.ts';
import { Coalesced } from './coalesced.ts';
import type { Session } from './session.ts';

/** Every reader reads what is written: a hint is not worth more than that. */
const LOAD_EVERY_MS = 5_000;

/** Nodes that may be left from sessions before; ZooKeeper forgets them by itself with their sessions. */
const MOST_LEFT = 16;

interface Written {
  readonly session: Session;
  readonly path: string;
  readonly atMs: number;
  readonly announcement: Announcement;
}

/**
 * Keeps what this process announces in ZooKeeper: a node of its own name and a rising number. A change of anything but
 * the load makes a new node before the old one is removed, so that others neither miss it in between nor need a watch
 * on each node; and after a loss the new session's node comes before the old session's goes.
 */
export class Publisher {
  readonly #prefix: string;
  readonly #work = new Coalesced(() => this.#run());
  readonly #ask = (): void => void this.#work.ask();
  #session: Session | undefined;
  #wanted: Announcement | undefined;
  #written: Written | undefined;
  #left: string[] = [];
  #count = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `prefix`: the path up to the number. */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  announce(announcement: Announcement): void {
    encode(announcement);
    const before = this.#wanted;
    this.#wanted = announcement;
    if (before && this.#written && sameButLoad(before, announcement)) this.#askForLoad(this.#written);
    else this.#ask();
  }

  /** Resolves when it is gone, as far as ZooKeeper is there. */
  withdraw(): Promise<void> {
    this.#wanted = undefined;
    return this.#work.ask();
  }

  attach(session: Session): void {
    this.#session = session;
    this.#ask();
  }

  detach(): void {
    this.#session = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Puts right what somebody else has changed. */
  check(): void {
    this.#ask();
  }

  async #run(): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    try {
      await this.#publish(session);
    } catch (thrown) {
      session.fail(thrown);
    }
  }

  async #publish(session: Session): Promise<void> {
    const wanted = this.#wanted;
    const written = this.#written;
    if (wanted === undefined) {
      if (written) this.#left.push(written.path);
      this.#written = undefined;
    } else if (written?.session !== session || !sameButLoad(written.announcement, wanted) || !(await session.read(written.path, this.#ask))) {
      await this.#create(session, wanted);
    } else if (written.announcement.load !== wanted.load) {
      await this.#writeLoad(written, wanted);
    }
    while (this.#left.length > 0) {
      await session.remove(this.#left[0]!);
      this.#left.shift();
    }
  }

  async #create(session: Session, announcement: Announcement): Promise<void> {
    const path = `${this.#prefix}${++this.#count}`;
    if (this.#written) this.#left.push(this.#written.path);
    this.#written = undefined;
    const before = this.#left.splice(0);
    // Until its creation is answered it is one that may have been left.
    this.#left = [path];
    try {
      await session.createEphemeral(path, encode(announcement));
      await session.read(path, this.#ask);
      this.#left = [];
      this.#written = { session, path, atMs: performance.now(), announcement };
    } finally {
      this.#left = [...before, ...this.#left].slice(-MOST_LEFT);
    }
  }

  async #writeLoad(written: Written, announcement: Announcement): Promise<void> {
    if (performance.now() - written.atMs < LOAD_EVERY_MS) return this.#askForLoad(written);
    if (await written.session.write(written.path, encode(announcement))) this.#written = { ...written, atMs: performance.now(), announcement };
  }

  #askForLoad({ atMs }: Written): void {
    if (this.#session === undefined) return;
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined;
        this.#ask();
      },
      Math.max(atMs + LOAD_EVERY_MS - performance.now(), 0),
    ).unref();
  }
}

function sameButLoad(one: Announcement, other: Announcement): boolean {
  const names = Object.keys(one.contracts);
  return (
    one.host === other.host &&
    one.process === other.process &&
    one.address === other.address &&
    names.length === Object.keys(other.contracts).length &&
    names.every((name) => one.contracts[name] === other.contracts[name])
  );
}
