import type { Clock } from '../kernel/clock.ts';
import { Fault, toFault } from '../kernel/fault.ts';
import type { EffectHandler, Subscription, TransactionalHandler } from '../kernel/module.ts';
import type { Received } from '../kernel/message.ts';
import type { Histogram, Log, Metrics } from '../kernel/telemetry.ts';
import { type Fared, Together } from '../kernel/together.ts';
import type { Bus, Consumer, Handler, Incoming, Outcome } from '../ports/bus.ts';
import type { Store } from '../ports/storage.ts';
import { queueName, queueSettings, requireValid } from './envelope.ts';
import { handledBefore, notHandledBefore } from './inbox.ts';

/** Messages of one transaction: what is held up when one of them fails. */
const HANDLED_AT_ONCE = 50;

export interface SubscriberContext {
  readonly module: string;
  readonly bus: Bus;
  readonly store: Store<unknown>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Check payloads on arrival: they may come from another build, or another language. */
  readonly strict: boolean;
}

/** What runs a handler for each message of its queue, and says what becomes of the message. */
export class Subscriber {
  readonly #context: SubscriberContext;
  readonly #subscription: Subscription;
  readonly #handler: TransactionalHandler<unknown> | EffectHandler<unknown>;
  readonly #queue: string;
  readonly #attempts: number;
  readonly #seconds: Histogram;
  readonly #stopping = new AbortController();
  readonly #together = new Together<Received<unknown>, void>(HANDLED_AT_ONCE, (all) => this.#transactMany(all));
  #consumer: Consumer | undefined;

  constructor(context: SubscriberContext, subscription: Subscription, handler: TransactionalHandler<unknown> | EffectHandler<unknown>) {
    this.#context = context;
    this.#subscription = subscription;
    this.#handler = handler;
    this.#queue = queueName(subscription.message, context.module);
    this.#attempts = queueSettings(subscription.message, context.module).attempts;
    this.#seconds = context.metrics.histogram('message_handling_seconds', 'Time a handler took, by queue and outcome.', ['queue', 'outcome']);
  }

  /** Whether its effect leaves the house. */
  get sends(): boolean {
    return this.#subscription.sends === true;
  }

  /** Before anybody publishes: a topic without a queue keeps nothing. */
  declare(): Promise<void> {
    return this.#context.bus.declare(queueSettings(this.#subscription.message, this.#context.module));
  }

  async start(): Promise<void> {
    this.#consumer = await this.#context.bus.consume(this.#queue, { concurrency: this.#subscription.concurrency }, this.#handle);
  }

  /** Lets what is under way finish; at the deadline, or at once where it goes on another time, it is told to stop by its signal. */
  async stop(deadlineMs: number): Promise<void> {
    const last = setTimeout(() => this.#stopping.abort(new Fault('cancelled', 'The host is stopping.')), this.#subscription.resumes === true ? 0 : deadlineMs * 0.8);
    await this.#consumer?.stop(deadlineMs).finally(() => clearTimeout(last));
    clearTimeout(last);
  }

  #handle: Handler = async (incoming) => {
    const began = performance.now();
    const outcome = await this.#outcomeOf(incoming);
    this.#seconds.observe((performance.now() - began) / 1000, { queue: this.#queue, outcome: outcome.kind });
    return outcome;
  };

  async #outcomeOf(incoming: Incoming): Promise<Outcome> {
    try {
      const received = this.#open(incoming);
      if ('transactional' in this.#subscription) {
        await this.#transact(this.#handler as TransactionalHandler<unknown>, received);
        return { kind: 'done' };
      }
      const again = await (this.#handler as EffectHandler<unknown>).perform(received, this.#stopping.signal);
      return again === undefined ? { kind: 'done' } : { kind: 'retry', ...again };
    } catch (thrown) {
      return this.#judge(thrown, incoming);
    }
  }

  #transact(handler: TransactionalHandler<unknown>, received: Received<unknown>): Promise<void> {
    if (handler.handleMany !== undefined) return this.#together.ask(received);
    return this.#context.store.transaction(async (tx) => {
      if (await handledBefore(tx, this.#queue, received.id, this.#context.clock.now())) return;
      await handler.handle(received, tx);
    });
  }

  async #transactMany(all: readonly Received<unknown>[]): Promise<Fared<void>[]> {
    await this.#context.store.transaction(async (tx) => {
      const fresh = await notHandledBefore(tx, this.#queue, all, this.#context.clock.now());
      if (fresh.length > 0) await (this.#handler as TransactionalHandler<unknown>).handleMany!(fresh, tx);
    });
    return all.map(() => ({ value: undefined }));
  }

  #open({ id, name, workspace, payload: json, time, trace, attempt }: Incoming): Received<unknown> {
    let payload: unknown;
    try {
      payload = JSON.parse(json);
    } catch {
      throw new Fault('invalid', 'The payload is not JSON.', { reason: 'payload_invalid' });
    }
    if (this.#context.strict) requireValid(this.#subscription.message, payload, 'invalid');
    return { id, name, workspace, payload, time, trace, attempt, last: attempt >= this.#attempts };
  }

  #judge(thrown: unknown, incoming: Incoming): Outcome {
    const fault = toFault(thrown);
    const reason = `${fault.code}/${fault.reason}: ${fault.message}`;
    this.#context.log.warn({ queue: this.#queue, messageId: incoming.id, traceId: incoming.trace.traceId, attempt: incoming.attempt, reason: fault.reason, err: fault.cause ?? fault }, 'message not handled');
    if (fault.code === 'invalid' || fault.code === 'not_found') return { kind: 'dead', reason };
    if (fault.code === 'unavailable' || fault.code === 'exhausted') return { kind: 'retry', reason, notBefore: this.#context.clock.now() + waitMs(fault) };
    return { kind: 'retry', reason };
  }
}

const OUTAGE_RETRY_MS = 1_000;

/** An outage (disk full, a callee away) is not the message's fault: waiting for its end uses up no try. */
function waitMs(fault: Fault): number {
  const { retryAfterMs } = fault.details;
  return typeof retryAfterMs === 'number' ? retryAfterMs : OUTAGE_RETRY_MS;
}
