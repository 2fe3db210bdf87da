import type { Log } from '../../../src/kernel/telemetry.ts';
import type { Announcement, RegistryNeeds, RegistryState } from '../../../src/ports/registry.ts';
import { decode } from './announcement.ts';
import { Coalesced } from './coalesced.ts';
import type { Session } from './session.ts';

/** Processes of a deployment, at most; the rest is left out. */
const MOST_NODES = 1_000;
/** Nodes read at once: each may have 1 MiB, whatever we take. */
const READS_AT_ONCE = 16;
/** Two hundred hosts that start together make two hundred changes, of which each host need not read each. */
const PAUSE_MS = 50;
/** Lines in the log about nodes that are not ours, in each refresh at most. */
const MOST_LINES = 20;
const NAME = /^([0-9a-f-]{36})-(\d{1,12})$/;

interface Entry {
  readonly changed: bigint;
  /** Undefined for what is no announcement. */
  readonly announcement: Announcement | undefined;
}

/**
 * What the other processes announce, as last read. While ZooKeeper is away the last list stays. Afterwards those who are
 * not back yet stay for as long as others may need to find ZooKeeper again (`graceMs`): an outage that ends for everybody
 * at a different moment must not look like the end of half of the hosts. Until then the list is not fresh.
 */
export class Directory {
  readonly #path: string;
  readonly #log: Log;
  readonly #listeners = new Set<(state: RegistryState) => void>();
  readonly #work = new Coalesced(() => this.#run());
  readonly #look = (): void => void this.#work.ask();
  #session: Session | undefined;
  #graceMs = 0;
  #entries = new Map<string, Entry>();
  /** From before the session, by the process's own part of the node's name; to begin with what the topology says. */
  #remembered: Map<string, Announcement>;
  #shown: RegistryState;
  #known = false;
  #readAll = false;
  #linesLeft = MOST_LINES;
  #ignored = 0;
  #grace: NodeJS.Timeout | undefined;

  constructor(path: string, seeds: RegistryNeeds['hosts'], log: Log) {
    this.#path = path;
    this.#log = log;
    this.#remembered = new Map(seeds.flatMap(({ host, addresses }) => addresses.map((address) => [address, { host, process: address, address, contracts: {}, load: 0 }])));
    this.#shown = this.#state();
  }

  get fresh(): boolean {
    return this.#shown.fresh;
  }

  watch(listener: (state: RegistryState) => void): () => void {
    const own = (state: RegistryState): void => listener(state);
    this.#listeners.add(own);
    listener(this.#shown);
    return () => void this.#listeners.delete(own);
  }

  attach(session: Session, graceMs: number): void {
    this.#session = session;
    this.#graceMs = graceMs;
    this.refresh();
  }

  /** Goes on with what is known. */
  detach(): void {
    this.#session = undefined;
    clearTimeout(this.#grace);
    this.#grace = undefined;
    if (this.#known) this.#remembered = this.#all();
    this.#entries.clear();
    this.#show();
  }

  /** Reads every node again. */
  refresh(): void {
    this.#readAll = true;
    this.#linesLeft = MOST_LINES;
    this.#look();
  }

  /** Nobody is told any more. */
  close(): void {
    this.#listeners.clear();
    this.detach();
  }

  async #run(): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    const all = this.#readAll;
    this.#readAll = false;
    try {
      await this.#read(session, all);
    } catch (thrown) {
      session.fail(thrown);
      return;
    }
    if (this.#session !== session) return;
    this.#settle();
    this.#show();
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS).unref());
  }

  async #read(session: Session, all: boolean): Promise<void> {
    const names = this.#ours(await session.children(this.#path, this.#look));
    const read = names.filter((name) => all || !this.#entries.has(name));
    const entries = new Map<string, Entry>();
    const reader = async (): Promise<void> => {
      for (let name = read.pop(); name !== undefined; name = read.pop()) {
        const node = await session.read(`${this.#path}/${name}`);
        if (node) entries.set(name, this.#entryOf(name, node.data, node.stat.mzxid.readBigInt64BE()));
      }
    };
    const unread = new Set(read);
    await Promise.all(Array.from({ length: READS_AT_ONCE }, reader));
    for (const name of names) {
      const known = this.#entries.get(name);
      if (known && !unread.has(name)) entries.set(name, known);
    }
    if (this.#session === session) this.#entries = entries;
  }

  /** Names that a Publisher makes; a limit to them all. */
  #ours(names: string[]): string[] {
    const ours = names.filter((name) => NAME.test(name)).slice(0, MOST_NODES);
    const ignored = names.length - ours.length;
    if (ignored > this.#ignored) this.#complain({ nodes: ignored, mostNodes: MOST_NODES }, 'nodes in ZooKeeper are ignored: their names are not ours, or there are too many');
    this.#ignored = ignored;
    return ours;
  }

  #entryOf(name: string, data: Buffer, changed: bigint): Entry {
    const known = this.#entries.get(name);
    if (known?.changed === changed) return known;
    const announcement = decode(data);
    if (typeof announcement !== 'string') return { changed, announcement };
    this.#complain({ node: name, problem: announcement }, 'a node in ZooKeeper is no announcement; it is ignored');
    return { changed, announcement: undefined };
  }

  #complain(fields: object, message: string): void {
    if (this.#linesLeft-- > 0) this.#log.warn(fields, message);
  }

  /** Forgets who has come back since the loss, and at the end of the grace all who have not. */
  #settle(): void {
    // What the topology says was only good until now.
    if (!this.#known) this.#remembered.clear();
    this.#known = true;
    for (const instance of this.#listed().keys()) this.#remembered.delete(instance);
    if (this.#remembered.size === 0 || this.#grace !== undefined) return;
    this.#grace = setTimeout(() => {
      this.#remembered.clear();
      this.#show();
    }, this.#graceMs).unref();
  }

  /** By process; a process whose node is being replaced has two for a moment. */
  #listed(): Map<string, Announcement> {
    const latest = new Map<string, number>();
    const listed = new Map<string, Announcement>();
    for (const [name, { announcement }] of this.#entries) {
      const [, instance, count] = NAME.exec(name)!;
      if (!announcement || Number(count) < (latest.get(instance!) ?? 0)) continue;
      latest.set(instance!, Number(count));
      listed.set(instance!, announcement);
    }
    return listed;
  }

  #all(): Map<string, Announcement> {
    return new Map([...this.#remembered, ...this.#listed()]);
  }

  #state(): RegistryState {
    const announcements = [...this.#all()].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([, announcement]) => announcement);
    return { fresh: this.#session !== undefined && this.#known && this.#remembered.size === 0, announcements };
  }

  #show(): void {
    const state = this.#state();
    const before = this.#shown;
    if (state.fresh === before.fresh && state.announcements.length === before.announcements.length && state.announcements.every((one, at) => one === before.announcements[at])) return;
    this.#shown = state;
    for (const listener of this.#listeners) {
      try {
        listener(state);
      } catch (err) {
        this.#log.error({ err }, 'a listener of the registry failed');
      }
    }
  }
}
