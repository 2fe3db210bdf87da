import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isIP, type Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { createSecureContext } from 'node:tls';
import type stompit from 'stompit';
import type { Clock, Timer } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { readAnyHeader } from './any-header.ts';
import { away, failure, foreign, mute, refusal, unreadable } from './broker-faults.ts';
import type { ActiveMqSettings } from './driver.ts';

/** When the first connection is made: few installations have a use for it, and each start would wait for it. */
const load = createRequire(import.meta.url);

/** A message on its way to the broker. Header values are ASCII: others are cut at the edges of TCP segments. */
export interface Frame {
  readonly destination: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Default true: on the broker's disk before it is confirmed. */
  readonly persistent?: boolean;
}

/** A message as the broker has given it to a subscription. */
export interface Delivery {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** What acknowledges it, on the connection that it came by and on no other. */
  readonly token: object;
}

export interface SubscribeOptions {
  /** Messages that the broker gives out before the first is acknowledged. */
  readonly prefetch: number;
  /** All messages go to one of the subscribers, until it goes. */
  readonly exclusive?: boolean;
  /** They count as acknowledged as soon as they are sent. */
  readonly auto?: boolean;
  /** Only messages whose headers are so, as JMS writes conditions. */
  readonly selector?: string;
  /** 0 to 127: messages go to the subscriber with the highest, as long as it takes any. Default 0. */
  readonly priority?: number;
  /** How the broker writes what is no text. */
  readonly transformation?: string;
}

/** As much of stompit's client as is used here; its published types are those of an older version. */
interface Client {
  on(event: 'error', listener: (error: Error) => void): this;
  on(event: 'end', listener: () => void): this;
  destroy(): void;
  getTransportSocket(): Socket;
  send(headers: Record<string, string>, options?: { readonly onReceipt: () => void }): Writable;
  begin(): { readonly id: number; commit(options: { readonly onReceipt: () => void }): void };
  ack(message: object, headers: Record<string, string>, options?: { readonly onReceipt: () => void }): void;
  sendFrame(command: 'SUBSCRIBE' | 'UNSUBSCRIBE', headers: Record<string, string>): Writable;
  setCommandHandler(command: 'MESSAGE', handler: (message: Message) => void): void;
}

/** A message that is still being read. */
type Message = Readable & { readonly headers: Record<string, string> };

/** The margin that a busy event loop has before a heart that did not beat counts. */
const HEART_MARGIN_MS = 5_000;
/** What the broker may send as one header line, and how many of them: more than it takes from anybody. stompit's own limits cut consumers off. */
const LINE_BYTES = 65_536;
const MOST_HEADERS = 1_100;
/** Subscriptions that have ended of which the last messages may still be on their way. */
const MOST_ENDED = 100;

interface Wait {
  reject(fault: Fault): void;
  readonly timer: Timer;
}

/**
 * One connection to the broker. stompit leaves callbacks unanswered when a connection fails, so every wait here has
 * a timer of its own, and all of them end when the connection does. A wait that runs out ends the connection: what a
 * broker that does not answer has done is not known, and only a new connection tells.
 */
export class Connection {
  readonly #client: Client;
  readonly #settings: ActiveMqSettings;
  readonly #clock: Clock;
  readonly #waits = new Set<Wait>();
  /** The tokens of what came by this connection. */
  readonly #given = new WeakSet<object>();
  /** By their ids. Not stompit's own, which takes a message that comes behind the end of its subscription for an error, and ends the connection. */
  readonly #subscriptions = new Map<string, (message: Message) => void>();
  readonly #ended: string[] = [];
  #subscribed = 0;
  readonly #lost = Promise.withResolvers<Fault>();
  #end: Fault | undefined;
  #corked = false;

  private constructor(client: Client, settings: ActiveMqSettings, clock: Clock) {
    this.#client = client;
    this.#settings = settings;
    this.#clock = clock;
    client.on('error', (error: Error) => this.#finish(error)).on('end', () => this.#finish());
    client.getTransportSocket().on('close', () => this.#finish());
    client.setCommandHandler('MESSAGE', (message) => (this.#subscriptions.get(message.headers.subscription!) ?? ignore)(message));
  }

  /** Faults: `unavailable` (`broker_away`, or `broker_refused` when the broker says no), `cancelled`; all unsent. */
  static open(settings: ActiveMqSettings, clock: Clock, signal?: AbortSignal): Promise<Connection> {
    const { host, port, username, connectTimeoutMs, heartbeatMs } = settings;
    let password: string | undefined;
    let security: object;
    try {
      password = passwordOf(settings);
      security = securityOf(settings);
    } catch (fault) {
      return Promise.reject(fault as Fault);
    }
    return new Promise((resolve, reject) => {
      let settled = false;
      const end = (): void => {
        settled = true;
        timer.cancel();
        signal?.removeEventListener('abort', cancel);
      };
      const fail = (fault: Fault): void => {
        if (settled) return;
        end();
        client.on('error', () => {});
        client.destroy();
        reject(fault);
      };
      const cancel = (): void => fail(new Fault('cancelled', 'The bus is stopping.', { origin: 'unsent' }));
      const timer = clock.after(connectTimeoutMs, () => fail(mute(connectTimeoutMs)));
      const { connect } = load('stompit') as typeof stompit;
      const client = connect(
        {
          host, port, noDelay: true, timeout: 0, maxLineLength: LINE_BYTES, maxHeaders: MOST_HEADERS, heartbeatDelayMargin: HEART_MARGIN_MS,
          ...security,
          connectHeaders: { 'accept-version': '1.2', 'heart-beat': `${heartbeatMs},${heartbeatMs}`, ...(username === undefined ? {} : { login: username }), ...(password === undefined ? {} : { passcode: password }) },
        } as stompit.connect.ConnectOptions,
        (error) => {
          if (error) return fail(refusal(error));
          if (settled) return;
          end();
          resolve(new Connection(client, settings, clock));
        },
      ) as unknown as Client;
      readAnyHeader(client);
      signal?.addEventListener('abort', cancel, { once: true });
      if (signal?.aborted) cancel();
    });
  }

  /** Resolves, with why, when it is over. */
  get lost(): Promise<Fault> {
    return this.#lost.promise;
  }

  get open(): boolean {
    return this.#end === undefined;
  }

  /** The same, unless the connection ends first: then its fault. */
  unlessLost<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      promise.then(resolve, reject);
      void this.lost.then(reject);
    });
  }

  /** The same, within the time that the broker has for an answer; after it the connection ends. */
  soon(promise: Promise<void>): Promise<void> {
    return this.#confirmed((onReceipt) => void promise.then(onReceipt));
  }

  /** Resolves when the broker has all of them, on its disk where they are persistent: all or none. Faults: `unavailable`, unsent or lost. */
  deliver(frames: readonly Frame[], acknowledged: readonly Delivery[] = []): Promise<void> {
    if (!acknowledged.every(({ token }) => this.#given.has(token))) return Promise.reject(foreign());
    return this.#confirmed((onReceipt) => {
      if (frames.length === 1 && acknowledged.length === 0) return this.#send(frames[0]!, {}, onReceipt);
      const transaction = this.#client.begin();
      const { id } = transaction;
      for (const frame of frames) this.#send(frame, { transaction: String(id) });
      for (const { token } of acknowledged) this.#client.ack(token, { transaction: String(id) });
      transaction.commit({ onReceipt });
    });
  }

  /**
   * Resolves when the broker will not give them out again; some of them may be gone when it rejects. Not in a
   * transaction: the broker keeps what was acknowledged in one in its heap until the connection ends (5.17's
   * StompSubscription forgets what a transaction acknowledged only in the mode `client`).
   */
  acknowledge(deliveries: readonly Delivery[]): Promise<void> {
    if (!deliveries.every(({ token }) => this.#given.has(token))) return Promise.reject(foreign());
    if (deliveries.length === 0) return Promise.resolve();
    return this.#confirmed((onReceipt) => {
      for (const { token } of deliveries.slice(0, -1)) this.#client.ack(token, {});
      this.#client.ack(deliveries.at(-1)!.token, {}, { onReceipt });
    });
  }

  /** Sent, and no more known of it. `sent` is called when the system has it, or the connection has ended. */
  post(frame: Frame, sent?: () => void): void {
    if (this.#end === undefined) this.#send(frame, {}, undefined, sent);
    else sent?.();
  }

  /**
   * Answers what ends it. `take` is called for one message after the other; what it throws is not caught. The broker
   * gives out from a thread of its own, so messages may come behind the end: those that count as acknowledged are
   * taken still, the broker has the others back.
   */
  subscribe(destination: string, { prefetch, exclusive, auto, selector, priority, transformation }: SubscribeOptions, take: (delivery: Delivery) => void): () => void {
    if (this.#end !== undefined) return () => {};
    const id = String(++this.#subscribed);
    this.#subscriptions.set(id, (message) => {
      this.#given.add(message);
      const chunks: Buffer[] = [];
      // Read at once, whatever it is: a body that is not read holds up all that comes behind it, heartbeats included.
      message.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => take({ headers: message.headers, body: Buffer.concat(chunks), token: message }));
    });
    this.#client.sendFrame('SUBSCRIBE', {
      id, destination, ack: auto ? 'auto' : 'client-individual', 'activemq.prefetchSize': String(prefetch),
      ...(exclusive ? { 'activemq.exclusive': 'true' } : {}), ...(selector === undefined ? {} : { selector }), ...(priority === undefined ? {} : { 'activemq.priority': String(priority) }),
      ...(transformation === undefined ? {} : { transformation }),
    }).end();
    let left = false;
    return () => {
      if (left || this.#end !== undefined) return;
      left = true;
      this.#client.sendFrame('UNSUBSCRIBE', { id }).end();
      if (auto) this.#ended.push(id);
      else this.#subscriptions.delete(id);
      if (this.#ended.length > MOST_ENDED) this.#subscriptions.delete(this.#ended.shift()!);
    };
  }

  close(): void {
    this.#client.destroy();
    this.#finish();
  }

  #send({ destination, headers, body, persistent = true }: Frame, more: Record<string, string>, onReceipt?: () => void, sent?: () => void): void {
    // Of its own for each frame, since stompit writes into it; with the length, since a body may hold a NUL.
    const own = { destination, persistent: String(persistent), 'content-length': String(body.length), ...headers, ...more };
    this.#cork();
    const frame = this.#client.send(own, onReceipt === undefined ? undefined : { onReceipt });
    frame.end(body.length === 0 ? undefined : body, sent);
  }

  /** What is sent in one turn leaves as one piece: stompit writes each frame in three. */
  #cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    const socket = this.#client.getTransportSocket();
    socket.cork();
    setImmediate(() => {
      this.#corked = false;
      socket.uncork();
    });
  }

  #confirmed(begin: (onReceipt: () => void) => void): Promise<void> {
    if (this.#end !== undefined) return Promise.reject(this.#end.with({ origin: 'unsent' }));
    return new Promise((resolve, reject) => {
      const { answerTimeoutMs } = this.#settings;
      const timer = this.#clock.after(answerTimeoutMs, () => {
        this.#client.destroy();
        this.#finish(new Error(`no answer within ${answerTimeoutMs} ms`));
      });
      const wait: Wait = { reject, timer };
      this.#waits.add(wait);
      begin(() => {
        timer.cancel();
        this.#waits.delete(wait);
        resolve();
      });
    });
  }

  #finish(error?: Error): void {
    if (this.#end !== undefined) return;
    this.#end = error === undefined ? away('The connection to the broker has ended.', 'lost') : failure(error);
    for (const { reject, timer } of this.#waits) {
      timer.cancel();
      reject(this.#end);
    }
    this.#waits.clear();
    this.#lost.resolve(this.#end);
  }
}

function ignore(message: Message): void {
  message.resume();
}

function passwordOf({ password, passwordFile }: ActiveMqSettings): string | undefined {
  try {
    return password ?? (passwordFile === undefined ? undefined : readFileSync(passwordFile, 'utf8').trim());
  } catch (error) {
    throw unreadable('The file with the password for the broker (bus.passwordFile) cannot be read; "multilith servers" makes it when it starts the broker.', error);
  }
}

function securityOf({ tls, host, ca, cert, key, servername }: ActiveMqSettings): object {
  if (!tls) return {};
  const name = servername ?? host;
  try {
    const secureContext = createSecureContext({ ...(ca === undefined ? {} : { ca }), ...(cert === undefined ? {} : { cert }), ...(key === undefined ? {} : { key }) });
    // RFC 6066: an address is no server name.
    return { ssl: true, secureContext, ...(isIP(name) === 0 ? { servername: name } : {}) };
  } catch (error) {
    throw unreadable('bus.ca, bus.cert or bus.key cannot be read: each holds a PEM text, and key is the one of cert.', error);
  }
}
