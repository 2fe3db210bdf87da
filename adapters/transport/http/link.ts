import type { Client } from 'undici';
import { Fault, toFault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import { type ContractOffer, type Identity, type Introduction, type Link, type LinkState, NOT_CONNECTED, type PeerAddress, type RemoteCall, type Reply, STOPPING } from '../../../src/ports/transport.ts';
import { failSoon } from '../shared/fail-soon.ts';
import { entryText } from './batch.ts';
import { BatchExchange } from './batch-exchange.ts';
import { brokenFault, refusalFault, unreadableFault, unsendable } from './client-faults.ts';
import { Connections, originOf } from './connections.ts';
import { Exchange, type Outcome } from './exchange.ts';
import { BATCH_HEADER, headersOf } from './headers.ts';
import { MAX_BATCH_CALLS, MAX_CONNECTIONS_PER_LINK, MAX_PENDING_BYTES, MAX_PENDING_CALLS, MAX_VALUE_BYTES } from './limits.ts';
import { Outgoing } from './outgoing.ts';
import { BATCH_PATH, callPath, cancelPath, INTRODUCTION_PATH, OFFERS_PATH } from './routes.ts';
import { authorizationOf } from './secret.ts';
import type { HttpSettings } from './settings.ts';
import { valueOf, textOf } from './values.ts';
import { type Sighting, Watch } from './watch.ts';

const DESCRIBE_MS = 5_000;
/** Headers and the other fields of a call. */
const OVERHEAD_BYTES = 1_024;

/** Calls over HTTP/1.1: each in a request of its own, or several of one turn of the event loop in one. */
export class HttpLink implements Link {
  readonly #peerName: string;
  readonly #headers: string[];
  readonly #jsonHeaders: string[];
  readonly #batches: boolean;
  readonly #connections: Connections;
  readonly #watch: Watch;
  readonly #life: StartStop;
  readonly #pending = new Set<Outgoing>();
  /** Not handed to a connection yet, in the order in which they came. */
  #waiting: Outgoing[] = [];
  #pendingBytes = 0;
  #flushing: NodeJS.Immediate | undefined;
  #emptied: (() => void) | undefined;
  /** Takes nothing new, whatever the peer says. */
  #stopped = false;
  #state: LinkState = 'closed';
  #leftInOrder = false;
  #problem: string | undefined = 'The link has not been started.';
  #peer: Introduction | undefined;
  onChange: (() => void) | undefined;

  constructor({ secret }: Identity, to: PeerAddress, settings: HttpSettings) {
    this.#peerName = 'socketPath' in to.at ? to.at.socketPath : originOf(to);
    this.#headers = secret === null ? [] : ['authorization', authorizationOf(secret)];
    this.#jsonHeaders = [...this.#headers, 'content-type', 'application/json'];
    this.#batches = settings.batches;
    this.#connections = new Connections(to, MAX_CONNECTIONS_PER_LINK, () => this.#watch.doubt());
    this.#watch = new Watch(
      () => this.#askWho(),
      () => this.#connections.received,
      {
        onFound: (introduction) => this.#found(introduction),
        onLost: (problem, isInOrder) => this.#lost(problem, isInOrder),
        onGone: () => void this.#cut(),
      },
    );
    this.#life = new StartStop(
      () => {
        this.#change('connecting', `${this.#peerName} has not answered yet.`);
        this.#watch.start();
      },
      (deadlineMs) => this.#drain(deadlineMs),
    );
  }

  get state(): LinkState {
    return this.#state;
  }

  get pending(): number {
    return this.#pending.size;
  }

  get peer(): Introduction | undefined {
    return this.#peer;
  }

  get leftInOrder(): boolean {
    return this.#leftInOrder;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  get traffic(): { sent: number; received: number } {
    const { sent, received } = this.#connections;
    return { sent, received };
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    this.#change('closed', 'The link has been stopped.');
    this.#stopped = true;
    return this.#life.stop(deadlineMs);
  }

  send(call: RemoteCall, reply: Reply): () => void {
    let outgoing: Outgoing;
    try {
      outgoing = this.#admit(call, reply);
    } catch (thrown) {
      return failSoon(reply, toFault(thrown));
    }
    this.#waiting.push(outgoing);
    outgoing.letGo = () => this.#waiting.splice(this.#waiting.indexOf(outgoing), 1);
    if (this.#batches) this.#flushing ??= setImmediate(() => this.#flush());
    else this.#flush();
    return () => outgoing.cancel();
  }

  async describe(): Promise<readonly ContractOffer[]> {
    if (this.#state !== 'open') throw this.#notConnected();
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const exchange = this.#question(this.#connections.aside, 'GET', OFFERS_PATH, resolve);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      resolve({ error: new Error('late'), begun: true });
      exchange.abort();
    }, DESCRIBE_MS);
    const outcome = await promise.finally(() => clearTimeout(timer));
    if (late) throw new Fault('deadline', `${this.#peerName} did not say within ${DESCRIBE_MS} ms what it serves.`, { origin: 'lost' });
    if ('error' in outcome) throw this.#broken(outcome);
    if (outcome.status !== 200) throw refusalFault(this.#peerName, outcome.status, outcome.body);
    const offers = offersIn(outcome.body);
    if (offers === undefined) throw unreadableFault(this.#peerName);
    return offers;
  }

  /** @throws Fault when the call cannot be sent. */
  #admit(call: RemoteCall, reply: Reply): Outgoing {
    if (this.#state !== 'open') throw this.#notConnected();
    const written = textOf(call.request);
    if ('problem' in written) throw unsendable(written.problem);
    const { text } = written;
    const bytes = text.length + OVERHEAD_BYTES;
    if (this.#pending.size >= MAX_PENDING_CALLS || this.#pendingBytes + bytes > MAX_PENDING_BYTES) {
      throw new Fault('exhausted', `Too many calls to ${this.#peerName} are under way.`, { reason: 'link_full', origin: 'unsent' });
    }
    const outgoing = new Outgoing(call, text, reply, () => {
      this.#pending.delete(outgoing);
      this.#pendingBytes -= bytes;
      if (this.#pending.size === 0) this.#emptied?.();
    });
    this.#pending.add(outgoing);
    this.#pendingBytes += bytes;
    return outgoing;
  }

  /** Hands what waits to connections, as far as there are any free. */
  #flush(): void {
    this.#flushing = undefined;
    while (this.#waiting.length > 0) {
      const client = this.#connections.take();
      if (client === undefined) return;
      const group = this.#nextGroup();
      const headers = group.length === 1 ? headersOf(group[0]!.call, this.#jsonHeaders) : undefined;
      if (headers === undefined) this.#sendTogether(client, group);
      else this.#sendSingly(client, group[0]!, headers);
    }
  }

  #nextGroup(): Outgoing[] {
    if (!this.#batches) return [this.#waiting.shift()!];
    let bytes = 0;
    let count = 0;
    for (const { text } of this.#waiting) {
      bytes += text.length * 3 + OVERHEAD_BYTES;
      if (count > 0 && (count === MAX_BATCH_CALLS || bytes > MAX_VALUE_BYTES)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  #sendSingly(client: Client, outgoing: Outgoing, headers: string[]): void {
    const { call, text } = outgoing;
    const exchange = new Exchange((outcome) => {
      this.#free(client);
      if ('error' in outcome) this.#doubt(outgoing, this.#broken(outcome));
      else if (outcome.status === 200) this.#succeed(outgoing, outcome.body);
      else this.#doubt(outgoing, refusalFault(this.#peerName, outcome.status, outcome.body));
    });
    outgoing.letGo = () => exchange.abort();
    client.dispatch({ method: 'POST', path: callPath(call.contract, call.method), headers, body: text }, exchange);
  }

  #succeed(outgoing: Outgoing, body: Buffer): void {
    let value: unknown;
    try {
      value = valueOf(body);
    } catch {
      return outgoing.fail(unreadableFault(this.#peerName));
    }
    outgoing.answer({ value });
  }

  #sendTogether(client: Client, calls: readonly Outgoing[]): void {
    const id = newId();
    let cancelled: number[] = [];
    const exchange = new BatchExchange(this.#peerName, calls, (fault) => {
      this.#free(client);
      if (fault !== undefined) this.#watch.doubt();
    });
    const tell = (): void => {
      if (cancelled.length > 0) this.#question(this.#connections.aside, 'DELETE', cancelPath(id, cancelled), () => {});
      cancelled = [];
    };
    calls.forEach((outgoing, n) => {
      outgoing.letGo = () => {
        if (calls.every(({ settled }) => settled)) return exchange.abort();
        if (cancelled.push(n) === 1) setImmediate(tell);
      };
    });
    const body = `[${calls.map(({ call, text }) => entryText(call, text)).join(',')}]`;
    client.dispatch({ method: 'POST', path: BATCH_PATH, headers: [...this.#jsonHeaders, BATCH_HEADER, id], body }, exchange);
  }

  #free(client: Client): void {
    this.#connections.give(client);
    if (this.#waiting.length > 0) this.#flushing ??= setImmediate(() => this.#flush());
  }

  /** A call that failed may be the first to show that the peer has gone, or wants nothing new. */
  #doubt(outgoing: Outgoing, fault: Fault): void {
    if (outgoing.settled) return;
    if (fault.code === 'unavailable') this.#watch.doubt();
    outgoing.fail(fault);
  }

  #askWho(): { answer: Promise<Sighting>; giveUp: () => void } {
    const { promise, resolve } = Promise.withResolvers<Sighting>();
    const exchange = this.#question(this.#connections.watched, 'GET', INTRODUCTION_PATH, (outcome) => resolve(this.#sightingIn(outcome)));
    return { answer: promise, giveUp: () => exchange.abort('it has fallen silent') };
  }

  #sightingIn(outcome: Outcome): Sighting {
    if ('error' in outcome) return { problem: `${this.#peerName} cannot be reached: ${reasonOf(outcome.error)}.`, heard: REFUSALS.has(reasonOf(outcome.error)) };
    if (outcome.status !== 200) {
      const { message, reason } = refusalFault(this.#peerName, outcome.status, outcome.body);
      return { problem: message, heard: true, isStopping: reason === STOPPING };
    }
    const introduction = introductionIn(outcome.body);
    return introduction === undefined ? { problem: `${this.#peerName} is no host of ours: its introduction cannot be read.`, heard: true } : { introduction };
  }

  /** On a connection that no call holds up. */
  #question(client: Client, method: 'GET' | 'DELETE', path: string, done: (outcome: Outcome) => void): Exchange {
    const exchange = new Exchange(done);
    client.dispatch({ method, path, headers: this.#headers }, exchange);
    return exchange;
  }

  #broken(outcome: { error: Error; begun: boolean }): Fault {
    return brokenFault(this.#peerName, outcome.begun, outcome.error);
  }

  #notConnected(): Fault {
    return new Fault('unavailable', `There is no connection to ${this.#peerName}. ${this.#problem}`, { reason: NOT_CONNECTED, origin: 'unsent' });
  }

  #found(introduction: Introduction): void {
    if (this.#state === 'open') {
      this.#leftInOrder = false;
      this.#change('connecting', `${this.#peerName} has been restarted.`);
    }
    this.#peer = introduction;
    this.#change('open', undefined);
  }

  #lost(problem: string, isInOrder: boolean): void {
    if (this.#state === 'open') this.#leftInOrder = isInOrder;
    this.#change('connecting', problem);
    this.#connections.closeIdle();
  }

  #change(state: LinkState, problem: string | undefined): void {
    if (this.#stopped) return;
    this.#problem = problem;
    if (this.#state === state) return;
    this.#state = state;
    this.onChange?.();
  }

  /** Fails all that is under way. */
  async #cut(): Promise<void> {
    for (const outgoing of this.#waiting.splice(0)) outgoing.fail(this.#notConnected());
    await this.#connections.cut();
  }

  async #drain(deadlineMs: number): Promise<void> {
    if (this.#pending.size > 0) await this.#emptiedWithin(deadlineMs);
    this.#watch.stop();
    await this.#cut();
  }

  async #emptiedWithin(deadlineMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#emptied = resolve;
    const timer = setTimeout(resolve, deadlineMs);
    await promise;
    clearTimeout(timer);
  }
}

/** Of the system of the other side: nobody listens there. */
const REFUSALS: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT']);

/** For people: what the system says, else what the library does. */
function reasonOf(error: Error & { code?: string }): string {
  return error.code ?? error.message;
}

function introductionIn(body: Buffer): Introduction | undefined {
  const found = jsonIn(body) as Partial<Introduction> | undefined;
  if (typeof found?.host !== 'string' || typeof found.process !== 'string' || typeof found.contracts !== 'object' || found.contracts === null) return undefined;
  return { host: found.host, process: found.process, contracts: found.contracts };
}

function offersIn(body: Buffer): readonly ContractOffer[] | undefined {
  const found = jsonIn(body) as { offers?: readonly ContractOffer[] } | undefined;
  return Array.isArray(found?.offers) ? found.offers : undefined;
}

function jsonIn(body: Buffer): object | undefined {
  try {
    const value = valueOf(body);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
