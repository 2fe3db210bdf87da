import type { Lifecycle } from '../kernel/lifecycle.ts';

/** One running process of a host, as others find it. */
export interface Announcement {
  /** By the topology, e.g. `mailer`. */
  readonly host: string;
  /** One process: another one after a restart. */
  readonly process: string;
  /** `address:port` that others connect to. */
  readonly address: string;
  /** Hashes of the contracts that it serves, by name. */
  readonly contracts: Readonly<Record<string, string>>;
  /** Calls under way, by its own count; a hint. */
  readonly load: number;
}

/** What every registry is told of the topology, beside its settings. */
export interface RegistryNeeds {
  /** Where the processes of each host are reached, as far as the topology says so. */
  readonly hosts: readonly { readonly host: string; readonly addresses: readonly string[] }[];
  /** The one that this process belongs to. */
  readonly host: string;
  /** How many processes that host has. */
  readonly replicas: number;
}

export interface RegistryState {
  /** False while the registry cannot be reached and the list is the last known good one. */
  readonly fresh: boolean;
  readonly announcements: readonly Announcement[];
}

/** Leadership among those who run for the same office. */
export interface Election {
  /** The fencing token while this process leads, else undefined. Tokens of an office only ever rise. */
  readonly token: bigint | undefined;
  /** Called after each change of `token`. */
  onChange: (() => void) | undefined;
  /** Steps down. */
  resign(): Promise<void>;
}

/**
 * How processes of a topology find each other. Nothing here waits for ever: while the registry is away, `watch` goes on
 * with the last known good list and an election has no leader that it cannot be sure of.
 */
export interface Registry extends Lifecycle {
  /** Resolves when asked, not when others see it; announced again by itself after every loss, until `withdraw` or `stop`. */
  announce(announcement: Announcement): Promise<void>;
  withdraw(): Promise<void>;
  /** Calls `listener` at once with what is known, then after each change. Answers what ends it. */
  watch(listener: (state: RegistryState) => void): () => void;
  /** Stands for an office; one candidate per office and process. */
  elect(office: string): Election;
}
