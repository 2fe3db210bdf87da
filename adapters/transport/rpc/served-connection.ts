import type { Duplex } from 'node:stream';
import type { FaultRecord } from '../../../src/kernel/fault.ts';
import { type Answer, type Dispatcher, type Identity, MOST_VALUE_BYTES, STOPPING } from '../../../src/ports/transport.ts';
import { ArrivedMessage } from './arrived-message.ts';
import { WireError } from './frames.ts';
import { Refusal, ServerHandshake } from './handshake.ts';
import { jsonTextOf } from './json-text.ts';
import { AT, CALL, CALL_TEXT, CANCEL, DESCRIBE, GO_AWAY, type Message, numberOf, parse, requireCall } from './messages.ts';
import type { Written } from './outgoing.ts';
import type { RpcSettings } from './settings.ts';
import { Wire } from './wire.ts';

/** An answer that waits until the caller reads; as text, since the value may change. */
interface Held {
  readonly number: number;
  readonly text: string;
}

export interface ServedEvents {
  /** The other side has shown that it belongs here. */
  opened(): void;
  closed(): void;
}

/** The serving end of one connection: takes calls in, within the window that it granted, and answers them. */
export class ServedConnection {
  readonly #identity: Identity;
  readonly #dispatcher: Dispatcher;
  readonly #settings: RpcSettings;
  readonly #events: ServedEvents;
  readonly #wire: Wire;
  readonly #handshake: ServerHandshake;
  /** By number, which is below the window's size. */
  readonly #underWay: (ArrivedMessage | undefined)[] = [];
  #underWayBytes = 0;
  readonly #held: Held[] = [];
  #heldBytes = 0;
  #isOpen = false;
  #isLeaving = false;

  constructor(duplex: Duplex, identity: Identity, dispatcher: Dispatcher, settings: RpcSettings, events: ServedEvents) {
    this.#identity = identity;
    this.#dispatcher = dispatcher;
    this.#settings = settings;
    this.#events = events;
    this.#wire = new Wire(
      duplex,
      settings,
      {
        handshake: (content) => this.#shake(content),
        message: (message, bytes) => this.#take(message, bytes),
        roomy: () => this.#release(),
        closed: () => this.#lose(),
      },
      'serves',
    );
    this.#handshake = new ServerHandshake(identity, settings, (content) => this.#wire.shakeHands(content));
  }

  /**
   * Takes nothing new. The caller closes, once everything under way is answered: only it knows when nothing that it
   * sent before it heard of this is still on its way here.
   */
  leave(): void {
    this.#isLeaving = true;
    if (!this.#isOpen) return this.close('This host is stopping.');
    this.#wire.out.plain(GO_AWAY);
    this.#wire.flushSoon();
  }

  close(problem: string): void {
    this.#wire.close(problem);
  }

  #shake(content: unknown): void {
    try {
      const agreed = this.#handshake.take(content);
      if (agreed === undefined) return;
      this.#wire.open(agreed.maxFrameBytes);
      this.#isOpen = true;
      this.#events.opened();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#wire.closeSoon(error.message);
    }
  }

  #take(message: Message, bytes: number): void {
    switch (message[0]) {
      case CALL:
      case CALL_TEXT:
        return this.#call(message, bytes);
      case CANCEL:
        return this.#underWay[numberOf(message)]?.cancel();
      case DESCRIBE:
        return this.#describe(numberOf(message));
      default:
        throw new WireError(`It sent a message of type ${String(message[0])}.`);
    }
  }

  #describe(number: number): void {
    if (this.#held.length > this.#settings.windowCalls) throw new WireError('It asks and does not read.');
    this.#answer(number, { value: this.#identity.offers });
  }

  #call(message: Message, bytes: number): void {
    requireCall(message);
    const number = message[AT.number] as number;
    if (this.#isLeaving) return this.#answer(number, { fault: LEAVING });
    const { windowCalls, windowBytes } = this.#settings;
    if (this.#underWay[number] !== undefined) throw new WireError('It used the number of a call that is under way.');
    if (number >= windowCalls || this.#underWayBytes >= windowBytes) throw new WireError('It sent more calls than it was granted.');
    const request = message[0] === CALL ? message[AT.request] : parse(message[AT.request]);
    const arrived = new ArrivedMessage(message, request, this.#wire.writtenAt, bytes);
    // Without holes: numbers are used from below.
    while (this.#underWay.length < number) this.#underWay.push(undefined);
    this.#underWay[number] = arrived;
    this.#underWayBytes += bytes;
    void this.#dispatcher.dispatch(arrived).then((answer) => this.#settle(number, answer));
  }

  #settle(number: number, answer: Answer): void {
    if (this.#wire.isClosed) return;
    this.#underWayBytes -= this.#underWay[number]!.bytes;
    this.#underWay[number] = undefined;
    this.#answer(number, answer);
  }

  #answer(number: number, answer: Answer): void {
    if ('value' in answer && (this.#held.length > 0 || this.#wire.isCrowded)) return this.#hold(number, answer.value);
    const { out } = this.#wire;
    const written = 'value' in answer ? out.answer(number, answer.value) : out.fault(number, answer.fault);
    if (typeof written !== 'number') out.fault(number, unanswerable(written));
    this.#wire.flushSoon();
  }

  #hold(number: number, value: unknown): void {
    const text = jsonTextOf(value);
    if (text === undefined) return this.#answer(number, { fault: unanswerable('not_json') });
    if (this.#heldBytes + text.length > this.#settings.queueBytes) return this.#answer(number, { fault: NOT_READ });
    this.#held.push({ number, text });
    this.#heldBytes += text.length;
  }

  #release(): void {
    while (this.#held.length > 0 && !this.#wire.isCrowded) {
      const { number, text } = this.#held.shift()!;
      this.#heldBytes -= text.length;
      const written = this.#wire.out.answerText(number, text);
      if (typeof written !== 'number') this.#wire.out.fault(number, unanswerable(written));
      this.#wire.flushSoon();
    }
  }

  #lose(): void {
    this.#held.length = 0;
    for (const arrived of this.#underWay.splice(0)) arrived?.cancel();
    this.#events.closed();
  }
}

const LEAVING: FaultRecord = { code: 'unavailable', reason: STOPPING, message: 'The host is stopping and takes no new calls.', details: {}, origin: 'unsent' };

const NOT_READ: FaultRecord = { code: 'exhausted', reason: 'answers_not_read', message: 'The caller does not take the answers of its other calls.', details: {}, origin: 'reply' };

function unanswerable(why: Exclude<Written, number>): FaultRecord {
  const message = why === 'too_large' ? `The answer is larger than the ${MOST_VALUE_BYTES} bytes that may cross between hosts. Large things go through the blob port, long lists in pages.` : 'The answer cannot cross between hosts: it is not JSON, or nested too deep.';
  return { code: 'internal', reason: `answer_${why}`, message, details: {}, origin: 'reply' };
}
