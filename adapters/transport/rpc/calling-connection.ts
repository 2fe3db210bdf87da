import type { Duplex } from 'node:stream';
import { Fault } from '../../../src/kernel/fault.ts';
import { type Identity, type Introduction, MOST_VALUE_BYTES, NOT_CONNECTED, type RemoteCall, type Reply } from '../../../src/ports/transport.ts';
import { failSoon } from '../shared/fail-soon.ts';
import { WireError } from './frames.ts';
import { CallerHandshake, type Granted, Refusal } from './handshake.ts';
import { jsonTextOf } from './json-text.ts';
import { ANSWER, ANSWER_TEXT, CANCEL, DESCRIBE, FAULT, faultRecordOf, GO_AWAY, type Message, numberOf, parse } from './messages.ts';
import type { Written } from './outgoing.ts';
import { SentCalls } from './sent-calls.ts';
import type { RpcSettings } from './settings.ts';
import { Waiting, WaitingRoom } from './waiting-room.ts';
import { Wire } from './wire.ts';

export interface CallingEvents {
  opened(peer: Introduction): void;
  /** The other side takes no new calls; those under way are still answered. */
  leaving(): void;
  closed(problem: string): void;
}

/** What the wire's number holds: 49 days. */
const LONGEST_LEFT_MS = 2 ** 32 - 1;
const GRANTED_NOTHING: Pick<Granted, 'windowCalls' | 'windowBytes'> = { windowCalls: 0, windowBytes: 0 };

/** The calling end of one connection: sends calls within the window that the other side grants, in order. */
export class CallingConnection {
  readonly #events: CallingEvents;
  readonly #wire: Wire;
  readonly #handshake: CallerHandshake;
  readonly #sent = new SentCalls();
  readonly #waiting: WaitingRoom;
  #window: Pick<Granted, 'windowCalls' | 'windowBytes'> = GRANTED_NOTHING;
  /** So many calls may have left. */
  #flushed = 0;
  #isLeaving = false;
  /** What was wrong with the handshake, for people. */
  refusal: string | undefined;

  constructor(duplex: Duplex, identity: Identity, settings: RpcSettings, events: CallingEvents) {
    this.#events = events;
    this.#waiting = new WaitingRoom(settings.queueCalls, settings.queueBytes);
    this.#wire = new Wire(
      duplex,
      settings,
      {
        handshake: (content) => this.#shake(content),
        message: (message) => this.#take(message),
        roomy: () => this.#proceed(),
        flushed: () => (this.#flushed = this.#sent.order),
        closed: (problem) => this.#lose(problem),
      },
      'calls',
    );
    this.#handshake = new CallerHandshake(identity, settings, (content) => this.#wire.shakeHands(content));
  }

  get pending(): number {
    return this.#sent.size + this.#waiting.size;
  }

  get sentBytes(): number {
    return this.#wire.sentBytes;
  }

  get receivedBytes(): number {
    return this.#wire.receivedBytes;
  }

  /** Answers what cancels the call. */
  send(call: RemoteCall, reply: Reply): () => void {
    if (this.#waiting.size > 0 || !this.#hasRoom()) return this.#wait(call, reply);
    const number = this.#sent.next;
    const written = this.#write(number, call, reply);
    if (typeof written !== 'number') return failSoon(reply, unsendable(written));
    const { order } = this.#sent;
    return () => this.#cancel(number, order);
  }

  describe(reply: Reply): void {
    if (this.#sent.size >= this.#window.windowCalls) return void failSoon(reply, linkFull());
    this.#wire.out.plain(DESCRIBE, this.#sent.next);
    this.#wire.flushSoon();
    this.#sent.add(reply, 0);
  }

  /** Closes once everything under way is answered. */
  closeWhenDone(): void {
    this.#isLeaving = true;
    if (this.pending === 0) this.close('This side has stopped.');
  }

  close(problem: string): void {
    this.#wire.close(problem);
  }

  #shake(content: unknown): void {
    try {
      const granted = this.#handshake.take(content);
      if (granted === undefined) return;
      this.#window = granted;
      this.#wire.open(granted.maxFrameBytes);
      this.#events.opened(granted.peer);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.refusal = error.message;
      this.#wire.close(error.message);
    }
  }

  #take(message: Message): void {
    switch (message[0]) {
      case ANSWER:
        return this.#settle(message)?.succeed(message[2]);
      case ANSWER_TEXT: {
        const value = parse(message[2]);
        return this.#settle(message)?.succeed(value);
      }
      case FAULT: {
        const record = faultRecordOf(message);
        return this.#settle(message)?.fail(Fault.fromRecord(record));
      }
      case GO_AWAY:
        return this.#leave();
      default:
        throw new WireError(`It sent a message of type ${String(message[0])}.`);
    }
  }

  /** Takes a call off the list; answers whom to tell, nobody when it was cancelled. */
  #settle(message: Message): Reply | undefined {
    const reply = this.#sent.settle(numberOf(message));
    if (this.#waiting.size > 0) this.#proceed();
    // After the reply that is given now.
    if (this.#isLeaving) queueMicrotask(() => this.#finishIfDone());
    return reply;
  }

  #hasRoom(): boolean {
    const { windowCalls, windowBytes } = this.#window;
    return this.#sent.size < windowCalls && this.#sent.bytes < windowBytes && !this.#wire.isCrowded;
  }

  #write(number: number, call: RemoteCall, reply: Reply, text?: string): Written {
    const leftMs = Math.min(Math.max(call.deadline - Date.now(), 0), LONGEST_LEFT_MS);
    const written = this.#wire.out.call(number, leftMs, call, text);
    if (typeof written !== 'number') return written;
    this.#sent.add(reply, written);
    this.#wire.flushSoon();
    return written;
  }

  #wait(call: RemoteCall, reply: Reply): () => void {
    const text = jsonTextOf(call.request);
    if (text === undefined) return failSoon(reply, unsendable('not_json'));
    const waiting = new Waiting(call, text, reply);
    if (!this.#waiting.enter(waiting)) return failSoon(reply, linkFull());
    return () => (waiting.order === 0 ? this.#waiting.leave(waiting) : this.#cancel(waiting.number, waiting.order));
  }

  /** Writes what has waited for room, in order. */
  #proceed(): void {
    while (this.#waiting.size > 0 && this.#hasRoom()) {
      const waiting = this.#waiting.next()!;
      waiting.number = this.#sent.next;
      const written = this.#write(waiting.number, waiting.call, waiting.reply, waiting.text);
      if (typeof written === 'number') waiting.order = this.#sent.order;
      else waiting.reply.fail(unsendable(written));
    }
  }

  #cancel(number: number, order: number): void {
    if (!this.#sent.cancel(number, order)) return;
    this.#wire.out.plain(CANCEL, number);
    this.#wire.flushSoon();
  }

  #leave(): void {
    this.#isLeaving = true;
    this.#events.leaving();
    const fault = notConnected('The host is stopping and takes no new calls.');
    for (const { reply } of this.#waiting.empty()) reply.fail(fault);
    this.#finishIfDone();
  }

  #finishIfDone(): void {
    if (this.pending === 0) this.#wire.close('The other side has stopped.');
  }

  #lose(problem: string): void {
    this.#events.closed(problem);
    const lost = new Fault('unavailable', 'The connection ended while the call was under way.', { reason: 'connection_lost', origin: 'lost' });
    const unsent = notConnected(problem);
    const waiting = this.#waiting.empty();
    for (const { reply, order } of this.#sent.empty()) reply?.fail(order > this.#flushed ? unsent : lost);
    for (const { reply } of waiting) reply.fail(unsent);
  }
}

/** The fault of a call for which there is no connection. */
export function notConnected(problem: string): Fault {
  return new Fault('unavailable', `There is no connection to the host. ${problem}`, { reason: NOT_CONNECTED, origin: 'unsent' });
}

function linkFull(): Fault {
  return new Fault('exhausted', 'Too many calls are under way to this host; it answers too slowly.', { reason: 'link_full', origin: 'unsent' });
}

function unsendable(why: Exclude<Written, number>): Fault {
  const message = why === 'too_large' ? `The request is larger than the ${MOST_VALUE_BYTES} bytes that may cross between hosts. Large things go through the blob port.` : 'The request cannot cross between hosts: it is not JSON, or nested too deep.';
  return new Fault('invalid', message, { reason: `request_${why}`, details: why === 'too_large' ? { maxBytes: MOST_VALUE_BYTES } : {}, origin: 'unsent' });
}
