import type { Socket } from 'node:net';
import { ACL, type Client, CreateMode, createClient, Exception, Id, Permission, type Stat } from 'node-zookeeper-client';
import type { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { Frames } from './frames.ts';
import { Moment } from './moment.ts';

export interface SessionOptions {
  readonly server: { readonly host: string; readonly port: number };
  readonly sessionTimeoutMs: number;
  readonly digest: { readonly username: string; readonly password: string } | undefined;
  readonly clock: Clock;
  /** Ends it, at any point. */
  readonly signal: AbortSignal;
}

/**
 * Why a session ended: the connection closed, ZooKeeper said no word for two thirds of the time-out, it had forgotten
 * the session, it refused the password, it sent what is no packet, or what was asked cannot be done.
 */
export type Ending = 'closed' | 'silent' | 'expired' | 'refused' | 'garbled' | 'failed';

export interface Node {
  readonly data: Buffer;
  readonly stat: Stat;
}

/** What is used of the library's inside; its version is pinned for that. */
interface Internals {
  socket?: Socket;
  connectTimeoutHandler?: NodeJS.Timeout | null;
  findNextServer(use: (server: SessionOptions['server']) => void): void;
  onSocketData(chunk: Buffer): void;
  onSocketClosed(): void;
}

const EVERYBODY = [new ACL(Permission.ALL, new Id('world', 'anyone'))];
const CREATOR = [new ACL(Permission.ALL, new Id('auth', ''))];

/** Within this part of its time-out a session must hear from ZooKeeper; the rest is the margin to step down in. */
const TRUSTED = 2 / 3;
const PROBED = 1 / 3;

/**
 * One session over one connection, which end together: what comes after is a new session. The library's own reconnecting
 * waits for ever in several ways; here it has no part but to write requests and read answers.
 *
 * ZooKeeper counts the time-out anew with each request that reaches it, which is no earlier than it was sent. So the
 * session lives surely until the sending of the last answered request plus the time-out, and this side gives it up a
 * third of the time-out before. Answers come in the order of requests: one that stays away holds up the probes behind it,
 * so that the watch over these is a deadline for every request.
 */
export class Session {
  /** Resolves when it is over. */
  readonly ended: Promise<Ending>;
  readonly #resolveEnded: (ending: Ending) => void;
  readonly #client: Client;
  readonly #inner: Internals;
  readonly #clock: Clock;
  readonly #acl: ACL[];
  readonly #signal: AbortSignal;
  readonly #waiting = new Set<(fault: Fault) => void>();
  readonly #abort = (): void => this.#end('closed');
  #timeoutMs: number;
  #heard: Moment;
  #watchdog: NodeJS.Timeout | undefined;
  #prober: NodeJS.Timeout | undefined;
  #probing = false;
  #closing = false;
  #ending: Ending | undefined;
  #cause: unknown;

  private constructor({ server, sessionTimeoutMs, digest, clock, signal }: SessionOptions) {
    ({ promise: this.ended, resolve: this.#resolveEnded } = Promise.withResolvers<Ending>());
    this.#clock = clock;
    this.#signal = signal;
    this.#timeoutMs = sessionTimeoutMs;
    this.#heard = new Moment(clock);
    this.#acl = digest === undefined ? EVERYBODY : CREATOR;
    this.#client = createClient('given-below:1', { sessionTimeout: sessionTimeoutMs, retries: 0 });
    this.#inner = (this.#client as unknown as { connectionManager: Internals }).connectionManager;
    if (digest) this.#client.addAuthInfo('digest', Buffer.from(`${digest.username}:${digest.password}`));
    this.#takeOver(server);
  }

  /** Rejects with `unavailable` when there is no session within two thirds of the time-out. */
  static async open(options: SessionOptions): Promise<Session> {
    const session = new Session(options);
    const opened = new Promise<void>((resolve) => session.#client.once('connected', resolve));
    session.#client.once('expired', () => session.#end('expired'));
    session.#client.once('authenticationFailed', () => session.#end('refused'));
    options.signal.addEventListener('abort', session.#abort);
    if (options.signal.aborted) session.#end('closed');
    else session.#client.connect();
    session.#watch();
    await Promise.race([opened, session.ended]);
    if (session.#ending !== undefined) throw session.#fault();
    session.#timeoutMs = session.#client.getSessionTimeout();
    session.#watch();
    session.#prober = setInterval(() => session.#probe(), session.#timeoutMs * PROBED).unref();
    session.#probe();
    return session;
  }

  /** Surely there: ZooKeeper cannot have given it up. True for some time more unless it ends. */
  get alive(): boolean {
    return this.#ending === undefined && !this.#closing && this.#heard.agoMs < this.#timeoutMs * TRUSTED;
  }

  /** As ZooKeeper wants it. */
  get timeoutMs(): number {
    return this.#timeoutMs;
  }

  /** What made it end, where `ended` says `failed` or `garbled`. */
  get cause(): unknown {
    return this.#cause;
  }

  /** Makes a node for as long as the session lasts. Answers its path, which with `sequential` has ten digits more. */
  createEphemeral(path: string, data: Buffer, { sequential = false } = {}): Promise<string> {
    return this.#ask((done) => this.#client.create(path, data, this.#acl, sequential ? CreateMode.EPHEMERAL_SEQUENTIAL : CreateMode.EPHEMERAL, done));
  }

  /** Makes a lasting node, and those above it, where they are missing. Those above are open to everybody. */
  async ensure(path: string, acl = this.#acl): Promise<void> {
    if (path === '' || (await this.#exists(path))) return;
    await this.ensure(path.slice(0, path.lastIndexOf('/')), EVERYBODY);
    await this.#ask<string>((done) => this.#client.create(path, Buffer.alloc(0), acl, CreateMode.PERSISTENT, done)).catch(unlessCode(Exception.NODE_EXISTS));
  }

  /** False when it is not there. */
  async write(path: string, data: Buffer): Promise<boolean> {
    const written = await this.#ask<Stat>((done) => this.#client.setData(path, data, done)).catch(unlessCode(Exception.NO_NODE));
    return written !== undefined;
  }

  /** Nothing when it is not there. `watcher` is called once, at the node's next change. */
  read(path: string, watcher?: () => void): Promise<Node | undefined> {
    return this.#ask<Node>((done) => {
      const answer = (error: Error | Exception | null, data: Buffer | undefined, stat: Stat): void => done(error, { data: data ?? Buffer.alloc(0), stat });
      return watcher ? this.#client.getData(path, watcher, answer) : this.#client.getData(path, answer);
    }).catch(unlessCode(Exception.NO_NODE));
  }

  /** `watcher` is called once, when a child comes or goes; the same function counts once. */
  children(path: string, watcher?: () => void): Promise<string[]> {
    return this.#ask((done) => (watcher ? this.#client.getChildren(path, watcher, done) : this.#client.getChildren(path, done)));
  }

  async remove(path: string): Promise<void> {
    await this.#ask<void>((done) => this.#client.remove(path, done)).catch(unlessCode(Exception.NO_NODE));
  }

  /** Gives it up because what it is for cannot be done. While it closes, nothing can be, and the end is near anyway. */
  fail(cause: unknown): void {
    if (this.#ending !== undefined || this.#closing) return;
    this.#cause = cause;
    this.#end('failed');
  }

  /** Tells ZooKeeper, so that what is tied to the session goes at once; after `deadlineMs` lets go all the same. */
  async close(deadlineMs: number): Promise<void> {
    if (this.#ending !== undefined) return;
    this.#closing = true;
    const timer = setTimeout(() => this.#end('closed'), deadlineMs).unref();
    this.#client.close();
    await this.ended;
    clearTimeout(timer);
  }

  /** Puts ourselves in the place of the library where it dials, takes in bytes, and dials again. */
  #takeOver(server: SessionOptions['server']): void {
    const frames = new Frames();
    const inner = this.#inner;
    const takeFrame = inner.onSocketData;
    inner.findNextServer = (use) => use(server);
    inner.onSocketClosed = () => this.#end('closed');
    inner.onSocketData = (chunk) => {
      try {
        for (const frame of frames.take(chunk)) {
          if (this.#ending !== undefined) return;
          takeFrame.call(inner, frame);
        }
      } catch (thrown) {
        // The library throws at codes and events that it does not know, out of the reach of any handler.
        this.#cause ??= thrown;
        this.#end('garbled');
      }
    };
  }

  #exists(path: string): Promise<boolean> {
    return this.#ask<boolean>((done) => this.#client.exists(path, (error, stat) => done(error, Boolean(stat))));
  }

  #ask<Value>(request: (done: (error: Error | Exception | null, value: Value) => void) => void): Promise<Value> {
    if (this.#ending !== undefined || this.#closing) return Promise.reject(this.#fault());
    const sent = new Moment(this.#clock);
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      request((error, value) => {
        if (!this.#waiting.delete(reject)) return;
        // Errors may be the library's own, which ZooKeeper knows nothing of.
        if (error) return reject(error);
        this.#heard = sent;
        resolve(value);
      });
    });
  }

  #probe(): void {
    if (this.#probing || this.#closing) return;
    this.#probing = true;
    this.#exists('/').then(
      () => (this.#probing = false),
      (thrown) => this.fail(thrown),
    );
  }

  /** One timer, which sleeps for as long as the last answer is good for. */
  #watch(): void {
    clearTimeout(this.#watchdog);
    if (this.#ending !== undefined) return;
    const remainingMs = this.#timeoutMs * TRUSTED - this.#heard.agoMs;
    if (remainingMs <= 0) this.#end('silent');
    else this.#watchdog = setTimeout(() => this.#watch(), Math.ceil(remainingMs)).unref();
  }

  #end(ending: Ending): void {
    if (this.#ending !== undefined) return;
    this.#ending = ending;
    clearTimeout(this.#watchdog);
    clearInterval(this.#prober);
    this.#signal.removeEventListener('abort', this.#abort);
    clearTimeout(this.#inner.connectTimeoutHandler ?? undefined);
    this.#inner.socket?.destroy();
    const fault = this.#fault();
    for (const reject of this.#waiting) reject(fault);
    this.#waiting.clear();
    this.#resolveEnded(ending);
  }

  #fault(): Fault {
    return new Fault('unavailable', 'There is no session with ZooKeeper.', { reason: `zookeeper_${this.#ending ?? 'closed'}`, origin: 'lost', cause: this.#cause });
  }
}

/** The name of what ZooKeeper said, e.g. NO_AUTH, if it was that. */
export function answerOf(thrown: unknown): string | undefined {
  return thrown instanceof Exception ? thrown.getName() : undefined;
}

function unlessCode(code: number): (thrown: unknown) => undefined {
  return (thrown) => {
    if (thrown instanceof Exception && thrown.getCode() === code) return undefined;
    throw thrown;
  };
}
