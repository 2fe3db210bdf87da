import { createRequire } from 'node:module';
import type SMTPConnection from 'nodemailer/lib/smtp-connection';
import { connect, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { Clock } from '../../../src/kernel/clock.ts';
import type { SmtpSettings } from './driver.ts';
import { isLoopback } from './loopback.ts';
import { acceptedVerdict, connectVerdict, failedVerdict, type SmtpError, type Verdict } from './reply.ts';

const load = createRequire(import.meta.url);

/** nodemailer's connection: only where mails leave by SMTP. Loading it again costs nothing. */
export function loadConnection(): typeof SMTPConnection {
  return load('nodemailer/lib/smtp-connection') as typeof SMTPConnection;
}

/** No reply of a real server comes near this; nodemailer's own limit is 1 MB. */
const MOST_REPLY_BYTES = 65_536;
const GOODBYE_MS = 1_000;

export class ConnectFailed extends Error {
  readonly verdict: Verdict;
  constructor(verdict: Verdict) {
    super(verdict.result.response);
    this.verdict = verdict;
  }
}

/**
 * One connection, ready for messages. nodemailer's connection speaks SMTP (pipelining, STARTTLS, login, dot-stuffing,
 * bare line feeds made whole); what it leaves open is decided here: time limits over each whole step, how far a
 * message had got when something broke, and whether a reply can be relied on.
 */
export class SmtpSession {
  /** Messages given to it. */
  messages = 0;
  /** The server has asked for the message: it is being handed over, or its answer is awaited. */
  carries = false;
  #alive = true;
  #onBroken: (error: SmtpError) => void = () => {};
  readonly #connection: SMTPConnection;
  readonly #socket: Socket;
  readonly #settings: SmtpSettings;
  readonly #clock: Clock;

  private constructor(socket: Socket, settings: SmtpSettings, clock: Clock) {
    const connection = new (loadConnection())(optionsOf(settings, socket));
    this.#socket = socket;
    this.#connection = connection;
    this.#settings = settings;
    this.#clock = clock;
    connection.on('error', (error: SmtpError) => this.#broken(error));
    // A reply that ends the connection (421) is told after the end itself.
    connection.on('end', () => process.nextTick(() => this.#broken({ code: 'ECONNECTION', message: 'The server closed the connection.' })));
  }

  /** @throws ConnectFailed, also when `signal` aborts. */
  static async open(settings: SmtpSettings, clock: Clock, signal?: AbortSignal): Promise<SmtpSession> {
    const socket = connect({ host: settings.host, port: settings.port, noDelay: true, keepAlive: true });
    const session = new SmtpSession(socket, settings, clock);
    const cut = (): void => session.cut();
    signal?.addEventListener('abort', cut, { once: true });
    try {
      await session.#step(settings.connectTimeoutMs, 'dialling', (done) => {
        socket.once('error', done).once('connect', () => {
          // Left in place, it would take every later error for one of dialling, and nobody would be told of it.
          socket.removeListener('error', done);
          done();
        });
      });
      await session.#step(settings.connectTimeoutMs, 'the greeting', (done) => session.#connection.connect(done));
      const { username: user, password: pass } = settings;
      if (user !== undefined && pass !== undefined) {
        await session.#step(settings.connectTimeoutMs, 'logging in', (done) => session.#connection.login({ credentials: { user, pass } }, done));
      }
      return session;
    } finally {
      signal?.removeEventListener('abort', cut);
    }
  }

  /** False once the connection has ended, by whichever side. */
  get alive(): boolean {
    return this.#alive;
  }

  /** Never rejects. After a verdict of `close` the connection is closed already. */
  async send(envelope: { readonly from: string; readonly to: string }, raw: Uint8Array, signal: AbortSignal): Promise<Verdict> {
    this.messages++;
    const verdict = await this.#transmit(envelope, raw, signal);
    if (verdict.connection === 'close') this.close();
    else if (verdict.connection === 'reset') await this.#reset();
    return verdict;
  }

  /** Ends what is under way now: uncertain when the message was handed over. */
  cut(): void {
    this.#broken({ code: 'ETIMEDOUT', message: 'The sending was cut short.' });
    this.close();
  }

  close(): void {
    this.#alive = false;
    this.#connection.close();
    this.#socket.destroy();
  }

  /** Says goodbye; resolves when the connection is closed, after a second at the latest. */
  quit(): Promise<void> {
    if (!this.#alive) return Promise.resolve();
    this.#alive = false;
    return new Promise((resolve) => {
      const timer = this.#clock.after(GOODBYE_MS, () => this.#connection.close());
      this.#connection.once('end', () => {
        timer.cancel();
        resolve();
      });
      this.#connection.quit();
    });
  }

  #transmit({ from, to }: { readonly from: string; readonly to: string }, raw: Uint8Array, signal: AbortSignal): Promise<Verdict> {
    return new Promise((resolve) => {
      let handedOver = false;
      const end = (verdict: Verdict): void => {
        this.carries = false;
        timer.cancel();
        signal.removeEventListener('abort', onAbort);
        this.#onBroken = () => {};
        resolve(verdict);
      };
      const failed = (error: SmtpError): void => end(failedVerdict(error, handedOver));
      const onAbort = (): void => this.cut();
      const limit = (ms: number, what: string) => this.#clock.after(ms, () => failed({ code: 'ETIMEDOUT', message: `No end of ${what} after ${ms} ms.` }));
      let timer = limit(this.#settings.commandTimeoutMs, 'the envelope');
      const body = new Body(raw, this.#socket, () => {
        this.carries = true;
        timer.cancel();
        timer = limit(this.#settings.messageTimeoutMs, 'the message');
      }, () => {
        handedOver = true;
      });
      this.#onBroken = failed;
      signal.addEventListener('abort', onAbort, { once: true });
      this.#connection.send({ from, to: [to], size: raw.length }, body as unknown as Readable, (error, info) => {
        if (error !== null && error !== undefined) failed(error as SmtpError);
        else end(acceptedVerdict(info.response));
      });
    });
  }

  /** Ends the transaction that a refused recipient has left open (RFC 5321 section 4.1.1.5). */
  async #reset(): Promise<void> {
    if (!this.#alive) return;
    try {
      await this.#step(this.#settings.commandTimeoutMs, 'resetting', (done) => this.#connection.reset(done));
    } catch {
      this.close();
    }
  }

  /** @throws ConnectFailed, with the connection closed. */
  #step(ms: number, what: string, work: (done: (error?: Error | null) => void) => void): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const end = (error?: SmtpError | null): void => {
        timer.cancel();
        this.#onBroken = () => {};
        if (error === undefined || error === null) return resolve();
        this.close();
        reject(new ConnectFailed(connectVerdict(error)));
      };
      const timer = this.#clock.after(ms, () => end({ code: 'ETIMEDOUT', message: `No end of ${what} after ${ms} ms.` }));
      this.#onBroken = end;
      work((error) => end(error as SmtpError | null | undefined));
    });
  }

  #broken(error: SmtpError): void {
    this.#alive = false;
    this.#onBroken(error);
  }
}

/**
 * The message as nodemailer's connection takes streams (`on` and `pipe`), without the cost of one: it is told when the
 * server has said go ahead, and tells when its last byte has been written to the socket.
 */
class Body {
  readonly #raw: Uint8Array;
  readonly #socket: Socket;
  readonly #onStart: () => void;
  readonly #onEnd: () => void;

  constructor(raw: Uint8Array, socket: Socket, onStart: () => void, onEnd: () => void) {
    this.#raw = raw;
    this.#socket = socket;
    this.#onStart = onStart;
    this.#onEnd = onEnd;
  }

  on(): this {
    return this;
  }

  removeListener(): this {
    return this;
  }

  destroy(): void {}

  pipe(encoder: NodeJS.ReadWriteStream): void {
    this.#onStart();
    encoder.once('end', this.#onEnd);
    // The message and its final dot in one packet.
    this.#socket.cork();
    encoder.write(this.#raw);
    encoder.end();
    setImmediate(() => this.#socket.uncork());
  }
}

function optionsOf(settings: SmtpSettings, socket: Socket): ConstructorParameters<typeof SMTPConnection>[0] {
  const { host, port, security, connectTimeoutMs, messageTimeoutMs, clientName } = settings;
  const mustEncrypt = security === 'starttls' || (security === 'auto' && settings.password !== undefined && !isLoopback(host));
  return {
    connection: socket,
    // For the certificate's name.
    host,
    port,
    secure: security === 'tls',
    requireTLS: mustEncrypt,
    ignoreTLS: security === 'none',
    // A server on this machine is reached by a name that no certificate carries; nobody stands between.
    tls: { rejectUnauthorized: settings.verifyCertificate && !(security === 'auto' && isLoopback(host)), minVersion: 'TLSv1.2' },
    connectionTimeout: connectTimeoutMs,
    greetingTimeout: connectTimeoutMs,
    dnsTimeout: connectTimeoutMs,
    // The limits over each whole step are this session's own; this one only catches what they cannot see.
    socketTimeout: Math.max(messageTimeoutMs, settings.idleMs, connectTimeoutMs) + 60_000,
    socketCloseTimeout: 0,
    maxResponseSize: MOST_REPLY_BYTES,
    ...(clientName === undefined ? {} : { name: clientName }),
  } as ConstructorParameters<typeof SMTPConnection>[0];
}
