import type { Clock, EpochMs, Timer } from '../../../src/kernel/clock.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import type { Histogram, Log, Metrics } from '../../../src/kernel/telemetry.ts';
import type { Channel, ChannelMessage, ChannelResult } from '../../../src/ports/channel.ts';
import { DkimSigner } from './dkim.ts';
import type { SmtpSettings } from './driver.ts';
import { Rest } from './rest.ts';
import type { Verdict } from './reply.ts';
import { ConnectFailed, loadConnection, SmtpSession } from './session.ts';

/** Messages in line for a connection, at most; more are put off at once. */
const LONGEST_LINE = 10_000;

type Turn = SmtpSession | 'open' | ChannelResult;

/** A pool of SMTP connections: opened when needed, kept while used, rested when the server is away. */
export class SmtpChannel implements Channel {
  readonly capacity: number;
  readonly #settings: SmtpSettings;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #rest: Rest;
  readonly #signer: DkimSigner | undefined;
  readonly #seconds: Histogram;
  readonly #life: StartStop;
  readonly #idle: { readonly session: SmtpSession; readonly timer: Timer }[] = [];
  readonly #busy = new Set<SmtpSession>();
  readonly #line: ((turn: Turn) => void)[] = [];
  readonly #stopping = new AbortController();
  readonly #underWay = new Set<Promise<unknown>>();
  #open = 0;

  constructor(settings: SmtpSettings, clock: Clock, log: Log, metrics: Metrics) {
    this.capacity = settings.connections;
    this.#settings = settings;
    this.#clock = clock;
    this.#log = log.child({ channel: 'smtp' });
    this.#rest = new Rest(settings.restFirstMs, settings.restMostMs);
    this.#signer = settings.dkim && new DkimSigner(settings.dkim);
    this.#seconds = metrics.histogram('smtp_send_seconds', 'Time from asking for a connection to the outcome of a message.', ['outcome']);
    this.#life = new StartStop(
      // The first mail should not wait for it.
      () => void loadConnection(),
      (deadlineMs) => this.#shutDown(deadlineMs),
    );
  }

  get pausedUntil(): EpochMs | null {
    return this.#rest.pausedUntil(this.#clock.now());
  }

  /** Opens no connection: a server that is away must not keep a host from starting. */
  start(): Promise<void> {
    return this.#life.start();
  }

  quiesce(): void {
    if (this.#stopping.signal.aborted) return;
    // Cuts the connections that are being opened, too.
    this.#stopping.abort();
    for (const { session, timer } of this.#idle.splice(0)) {
      timer.cancel();
      this.#letGo(session);
    }
    for (const waiting of this.#line.splice(0)) waiting(STOPPING);
    for (const session of this.#busy) if (!session.carries) session.cut();
  }

  /** Lets messages that are being handed over finish; at the deadline they are cut, and uncertain when handed over. */
  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  send(message: ChannelMessage, signal: AbortSignal): Promise<ChannelResult> {
    if (this.#life.state !== 'running' || this.#stopping.signal.aborted) return Promise.resolve(untried('The channel is not running.', 'stopped'));
    const began = performance.now();
    const sending = this.#send(message, signal).finally(() => this.#underWay.delete(sending));
    this.#underWay.add(sending);
    sending.then(
      (result) => this.#seconds.observe((performance.now() - began) / 1_000, { outcome: result.kind }),
      // The caller is told; an answer that nobody waits for would end the process.
      () => {},
    );
    return sending;
  }

  async check(): Promise<{ ok: boolean; detail: string }> {
    const { host, port } = this.#settings;
    try {
      await (await SmtpSession.open(this.#settings, this.#clock)).quit();
      return { ok: true, detail: `${host}:${port} answers${this.#settings.username === undefined ? '' : ' and takes the login'}` };
    } catch (thrown) {
      if (!(thrown instanceof ConnectFailed)) throw thrown;
      const { reason, response } = thrown.verdict.result;
      return { ok: false, detail: `${host}:${port}: ${reason}: ${response}` };
    }
  }

  async #send(message: ChannelMessage, signal: AbortSignal): Promise<ChannelResult> {
    const until = this.#rest.enter(this.#clock.now(), this.#settings.connectTimeoutMs + this.#settings.commandTimeoutMs);
    if (until !== null) return untried('The server is away; the channel rests.', 'channel_paused');
    if (signal.aborted) return untried('The sending was called off.', 'cancelled');
    const raw = this.#signer === undefined ? message.raw : await this.#signer.sign(message.raw, this.#clock.now());
    for (let again = true; ; again = false) {
      if (this.#stopping.signal.aborted) return STOPPING;
      const turn = await this.#turn(signal);
      if (isResult(turn)) return turn;
      const verdict = turn === 'open' ? await this.#sendOnFresh(message, raw, signal) : await this.#sendOn(turn, message, raw, signal);
      // The server may have closed a connection that lay idle; that says nothing of the message.
      if (turn !== 'open' && again && wasStale(verdict) && !signal.aborted) continue;
      return wasCut(verdict) && this.#stopping.signal.aborted ? STOPPING : this.#conclude(verdict);
    }
  }

  /** A connection, leave to open one, or why there will be neither. */
  #turn(signal: AbortSignal): Promise<Turn> | Turn {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      idle.timer.cancel();
      if (idle.session.alive) return idle.session;
      this.#open--;
    }
    if (this.#open < this.#settings.connections) {
      this.#open++;
      return 'open';
    }
    if (this.#line.length >= LONGEST_LINE) return untried('Too many messages wait for a connection.', 'line_full');
    return new Promise((resolve) => {
      const take = (turn: Turn): void => {
        signal.removeEventListener('abort', leave);
        resolve(turn);
      };
      const leave = (): void => {
        this.#line.splice(this.#line.indexOf(take), 1);
        resolve(untried('The sending was called off.', 'cancelled'));
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#line.push(take);
    });
  }

  /** Has leave to open a connection, which counts already. */
  async #sendOnFresh(message: ChannelMessage, raw: Uint8Array, signal: AbortSignal): Promise<Verdict> {
    let session: SmtpSession;
    try {
      session = await SmtpSession.open(this.#settings, this.#clock, this.#stopping.signal);
    } catch (thrown) {
      this.#open--;
      // After this message has been concluded, so that a rest that it began holds for those in line.
      setImmediate(() => this.#next());
      if (thrown instanceof ConnectFailed) return thrown.verdict;
      throw thrown;
    }
    return this.#sendOn(session, message, raw, signal);
  }

  async #sendOn(session: SmtpSession, message: ChannelMessage, raw: Uint8Array, signal: AbortSignal): Promise<Verdict> {
    this.#busy.add(session);
    const verdict = await session.send(message.envelope, raw, signal);
    this.#busy.delete(session);
    this.#giveBack(session);
    return verdict;
  }

  #giveBack(session: SmtpSession): void {
    if (!session.alive || session.messages >= this.#settings.messagesPerConnection || this.#stopping.signal.aborted) {
      return this.#letGo(session);
    }
    const waiting = this.#line.shift();
    if (waiting) return waiting(session);
    const timer = this.#clock.after(this.#settings.idleMs, () => {
      this.#idle.splice(this.#idle.findIndex((idle) => idle.session === session), 1);
      this.#letGo(session);
    });
    this.#idle.push({ session, timer });
  }

  /** Its place is free once it is closed: servers count connections too. */
  #letGo(session: SmtpSession): void {
    const leaving = session.quit().then(() => {
      this.#underWay.delete(leaving);
      this.#open--;
      this.#next();
    });
    this.#underWay.add(leaving);
  }

  /** A place has become free: the first in line may open a connection, unless the server is to be left alone. */
  #next(): void {
    if (this.pausedUntil !== null) {
      for (const waiting of this.#line.splice(0)) waiting(untried('The server is away; the channel rests.', 'channel_paused'));
      return;
    }
    if (this.#open >= this.#settings.connections) return;
    const waiting = this.#line.shift();
    if (waiting === undefined) return;
    this.#open++;
    waiting('open');
  }

  #conclude(verdict: Verdict): ChannelResult {
    const { result } = verdict;
    if (verdict.serverIsUp) {
      this.#rest.succeeded();
    } else if (!this.#stopping.signal.aborted && this.#rest.failed(this.#clock.now())) {
      this.#log.warn({ reason: result.reason, pausedUntil: this.pausedUntil }, 'the SMTP server is away; the channel rests');
    }
    return result;
  }

  async #shutDown(deadlineMs: number): Promise<void> {
    this.quiesce();
    const cut = this.#clock.after(deadlineMs * 0.9, () => {
      for (const session of this.#busy) session.cut();
    });
    await Promise.allSettled(this.#underWay);
    cut.cancel();
  }
}

function untried(response: string, reason: string): ChannelResult {
  return { kind: 'deferred', response, reason, untried: true };
}

const STOPPING = untried('The channel is stopping.', 'stopped');

function isResult(turn: Turn): turn is ChannelResult {
  return typeof turn === 'object' && 'kind' in turn;
}

/** Cut by ourselves before the message was handed over. */
function wasCut({ result, connection }: Verdict): boolean {
  return connection === 'close' && result.kind === 'deferred' && result.reason === 'timeout';
}

function wasStale({ result, connection }: Verdict): boolean {
  return connection === 'close' && result.kind === 'deferred' && result.reason === 'connection_closed';
}
