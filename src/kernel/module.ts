import type { IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';
import type { Call } from './call.ts';
import type { Contract } from './contract.ts';
import type { Json } from './fault.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { MessageDefinition, Received } from './message.ts';

/** A class that the container makes; its constructor takes ports and contracts by token. */
export type Injectable<T> = abstract new (...args: any[]) => T;

/**
 * Handles a message inside the transaction that records it as handled (the inbox), so that its effect happens once.
 * A throw rolls back; a Fault `invalid` or `not_found` goes to the error queue at once, anything else is tried again.
 */
export interface TransactionalHandler<P, Tx = any> {
  /** `tx` is the storage port's Transaction over the module's own tables. */
  handle(received: Received<P>, tx: Tx): Promise<void>;
  /**
   * Several in one transaction, as if they had been handled one after the other; when it throws, each is handled by itself.
   * Worth having where much of what a handler asks of the database can be asked for many messages together. Left out: each
   * has a transaction of its own.
   */
  handleMany?(all: readonly Received<P>[], tx: Tx): Promise<void>;
}

/**
 * Handles a message whose effect lies outside the database (a mail). It is told of a message again after a crash and
 * recognises it by `received.id` itself. Answers when to come again, or nothing when done.
 */
export interface EffectHandler<P> {
  perform(received: Received<P>, signal: AbortSignal): Promise<{ readonly notBefore: number; readonly reason: string } | undefined>;
}

interface SubscriptionBase<P> {
  readonly message: MessageDefinition<P>;
  /** Messages of one queue under way at once. */
  readonly concurrency: number;
  /** Its effect leaves the house: none are taken while sending is held. */
  readonly sends?: true;
  /** Told to stop by its signal it leaves off within a moment, and goes on another time where it was: a stop does not wait for its end. */
  readonly resumes?: true;
}
export type Subscription<P = any> =
  | (SubscriptionBase<P> & { readonly transactional: Injectable<TransactionalHandler<P>> })
  | (SubscriptionBase<P> & { readonly effect: Injectable<EffectHandler<P>> });

/** Serves what the module shows to browsers and programs. Answers false, at once, for a path that is not its own. */
export interface HttpSurface {
  handle(request: IncomingMessage, response: ServerResponse): boolean;
}

/** What a module tells the person who starts the host, each time, on standard output only: never in the log. */
export interface Greeting {
  /** Called once the host is ready. No lines when there is nothing to say. */
  lines(): Promise<readonly string[]>;
}

/**
 * Something that only whoever has an account on this machine with access to the data directory may ask for, through
 * the host's control socket: the command line's way in, with no password or key.
 */
export interface OperatorCommand {
  /** Answers JSON; checks the request itself. Faults as of any call. */
  run(request: Json, call: Call): Promise<Json>;
}

/** A table whose rows nobody needs for good: the configuration says how long they are kept. */
export interface AgingTable {
  /** As `retention.<name>Days` calls it. */
  readonly name: string;
  readonly table: string;
  /** Columns with an index that find each row, in its order. */
  readonly key: readonly string[];
  /** The column with the time that counts, epoch ms. */
  readonly time: string;
  /** Older rows stand before younger ones in the order of the key, so that the first young ones end the search. */
  readonly oldestFirst?: true;
  /** Rows with other values stay, however old. */
  readonly only?: { readonly column: string; readonly values: readonly string[] };
  /** By whose rows the module knows that it has handled a message of this job: they stay while one that is as old waits. */
  readonly remembers?: MessageDefinition<any>;
}

/** What a module needs and offers. Only src/app reads it. */
export interface ModuleDefinition<T = any, S = any> {
  readonly name: string;
  readonly contract: Contract<T>;
  readonly implementation: Injectable<T>;
  /** Contracts that the module calls; anything else cannot be injected. */
  readonly calls: readonly Contract<any>[];
  /** The storage port's Migrations, in order. */
  readonly migrations: readonly { readonly name: string; up(db: any): Promise<void> }[];
  readonly subscriptions: readonly Subscription[];
  /** Left out: everything is kept. */
  readonly retention?: readonly AgingTable[];
  /** Events that its classes watch through `Hints`, in every process that runs the module. */
  readonly hears?: readonly MessageDefinition<any>[];
  /** Every message that the module publishes. */
  readonly publishes: readonly MessageDefinition<any>[];
  /** The module's own section of the configuration, `modules.<name>`; injected by the token `Settings`. */
  readonly settings: z.ZodType<S>;
  /** Other classes that its classes inject by class, each made once. */
  readonly parts: readonly Injectable<unknown>[];
  /** Those of `parts` that start (in this order) before the module is ready and stop in reverse. */
  readonly lifecycles: readonly Injectable<Lifecycle>[];
  /** True when its classes inject `Channels`: they are opened only where such a module runs. */
  readonly usesChannels?: boolean;
  /** True when its classes inject `Blobs`: they are opened only where such a module runs. */
  readonly usesBlobs?: boolean;
  /** True when several processes may run it over one database: it keeps nothing in memory that another one must know. */
  readonly replicable?: boolean;
  readonly http?: Injectable<HttpSurface>;
  /** One of `parts`. */
  readonly greeting?: Injectable<Greeting>;
  /** By name, e.g. `demo-key`; each one of `parts`. */
  readonly operator?: Readonly<Record<string, Injectable<OperatorCommand>>>;
}

/** Keeps the types of a definition while checking it. */
export function defineModule<T, S>(definition: ModuleDefinition<T, S>): ModuleDefinition<T, S> {
  return definition;
}

/** The module's own settings, as its schema parsed them. */
export const Settings = Symbol.for('multilith.Settings');

/** What the whole installation has in common. */
export interface Installation {
  /** The address that people reach this installation at, e.g. `https://mail.agency.example`; no slash at the end. */
  readonly publicUrl: string;
  /** 32 random bytes made at the first start, from which each part derives its own key (HKDF, RFC 5869). */
  readonly secret: Uint8Array;
}
export const Installation = Symbol.for('multilith.Installation');
