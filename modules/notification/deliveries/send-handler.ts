import { inject, injectable } from 'inversify';
import type { Trace } from '../../../src/kernel/call.ts';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Received } from '../../../src/kernel/message.ts';
import { type EffectHandler, Settings } from '../../../src/kernel/module.ts';
import { Log } from '../../../src/kernel/telemetry.ts';
import { type Channel, type ChannelResult, Channels } from '../../../src/ports/channel.ts';
import { messageIdOf } from '../compose/message.ts';
import type { SendRequest } from '../contract.ts';
import type { Pace } from '../render/renderer.ts';
import type { NotificationSettings } from '../settings.ts';
import { Suppressions } from '../suppressions/suppressions.ts';
import type { z } from 'zod';
import { DeliveryLog } from './delivery-log.ts';
import { INTERRUPTED, isAtRest, settle, type SendJob, type StoredDelivery } from './delivery.ts';
import { Preparation, type NoMail, type PreparedMail } from './preparation.ts';
import { WireGate } from './wire-gate.ts';

type Again = { readonly notBefore: EpochMs; readonly reason: string } | undefined;

/** A resting channel is waited for so long, holding back the rest of the queue; then the messages go back to it. */
const WAIT_FOR_CHANNEL_MS = 2_000;
/** So many are written down as `sending` for each place at the channel: one fsync then carries many. */
const DECIDED_PER_PLACE = 3;
/** Data older than this is fetched anew before the mail goes, and a decision older than this is made anew. */
const FRESH_MS = 2_000;
const CHANNEL_BUSY: ChannelResult = { kind: 'deferred', response: 'The channel had no place free in time.', reason: 'channel_busy', untried: true };
/** What a first try meets that took the delivery for new and its template for quick. */
const LOOK_FIRST = ['delivery_changed', 'template_slow'];
const RECORD_TRIES = 4;
const MOST_UNRECORDED = 10_000;

/**
 * Carries one request to its end: decide, render, write down that it goes, send, write down what became of it. Told of
 * a request again it goes on from what is written: at rest, nothing; `sending`, the answer was lost.
 */
@injectable()
export class SendHandler implements EffectHandler<z.infer<typeof SendRequest>> {
  readonly #deliveries: DeliveryLog;
  readonly #preparation: Preparation;
  readonly #suppressions: Suppressions;
  readonly #channels: Channels;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #settings: NotificationSettings;
  readonly #gates = new Map<Channel, { readonly decide: WireGate; readonly wire: WireGate }>();
  readonly #underWay = new Set<string>();
  /** Outcomes that could not be written down (disk full): the answer is known here until the program ends. */
  readonly #unrecorded = new Map<string, ChannelResult>();

  constructor(
    @inject(DeliveryLog) deliveries: DeliveryLog,
    @inject(Preparation) preparation: Preparation,
    @inject(Suppressions) suppressions: Suppressions,
    @inject(Channels) channels: Channels,
    @inject(Clock) clock: Clock,
    @inject(Log) log: Log,
    @inject(Settings) settings: NotificationSettings,
  ) {
    this.#deliveries = deliveries;
    this.#preparation = preparation;
    this.#suppressions = suppressions;
    this.#channels = channels;
    this.#clock = clock;
    this.#log = log;
    this.#settings = settings;
    for (const channel of channels.values()) this.#gates.set(channel, { decide: new WireGate(channel.capacity * DECIDED_PER_PLACE), wire: new WireGate(channel.capacity) });
  }

  async perform(received: Received<z.infer<typeof SendRequest>>, signal: AbortSignal): Promise<Again> {
    if (received.workspace === null) throw new Fault('invalid', 'A send request belongs to a workspace.', { reason: 'workspace_required' });
    const job: SendJob = { ...received.payload, id: received.id, workspace: received.workspace, trace: received.trace };
    const key = `${job.workspace} ${job.id}`;
    if (this.#underWay.has(key)) return this.#again(1_000, 'under_way');
    this.#underWay.add(key);
    try {
      return await this.#start(job, received.attempt, signal);
    } finally {
      this.#underWay.delete(key);
    }
  }

  /**
   * Nearly all are new, and quick to render: the first try takes it for granted, and looks only when the database or the
   * renderer says otherwise. A slow template is not rendered for a delivery that then turns out to be there already.
   */
  async #start(job: SendJob, attempt: number, signal: AbortSignal): Promise<Again> {
    try {
      if (attempt === 1) return await this.#deliver(job, null, 'quick', signal);
    } catch (fault) {
      if (!Fault.is(fault) || !LOOK_FIRST.includes(fault.reason)) throw fault;
    }
    const before = await this.#whereItStands(job);
    try {
      return await this.#deliver(job, before, 'any', signal);
    } catch (fault) {
      if (!Fault.is(fault) || fault.reason !== 'renderer_busy') throw fault;
      return this.#putOff(job, before, fault.reason, this.#clock.now() + Number(fault.details['retryAfterMs']));
    }
  }

  async #deliver(job: SendJob, before: StoredDelivery | null, pace: Pace, signal: AbortSignal): Promise<Again> {
    if (before !== null && isAtRest(before.state)) return undefined;
    if (before?.nextAttemptAt != null && before.nextAttemptAt > this.#clock.now()) return againAt(before);
    const channel = this.#channels.get(job.channel);
    if (channel === undefined) return this.#finish(job, before, { kind: 'failed', reason: 'channel_not_found' });
    const pausedUntil = await this.#waitFor(channel, signal);
    if (pausedUntil !== null) return this.#putOff(job, before, 'channel_paused', pausedUntil + Math.round(Math.random() * WAIT_FOR_CHANNEL_MS));
    const prepare = () => this.#preparation.prepare(job, before, pace);
    const mail = await prepare();
    if (mail.kind !== 'ready') return this.#finish(job, before, mail);
    return this.#throughGate(job, before, channel, mail, prepare, signal);
  }

  /** A delivery found in `sending` was cut off: nobody is working on it, and its answer is lost unless it is still known here. */
  async #whereItStands(job: SendJob): Promise<StoredDelivery | null> {
    const found = await this.#deliveries.find(job.workspace, job.id);
    if (found?.state !== 'sending') return found;
    const known = this.#unrecorded.get(job.id);
    const settled = await this.#record(found, known ?? INTERRUPTED, job.trace);
    this.#unrecorded.delete(job.id);
    return settled;
  }

  /**
   * What is decided is soon on the wire, so that an opt-out counts from the moment that it is made: little is decided
   * ahead, and what then waits too long goes back.
   */
  async #throughGate(job: SendJob, before: StoredDelivery | null, channel: Channel, prepared: PreparedMail, prepare: () => Promise<PreparedMail | NoMail>, signal: AbortSignal): Promise<Again> {
    const { decide, wire } = this.#gates.get(channel)!;
    const arrived = this.#clock.now();
    await decide.enter();
    try {
      if (signal.aborted) return this.#again(0, 'stopping');
      const isStale = this.#clock.now() - arrived > FRESH_MS;
      const mail = isStale ? await prepare() : prepared;
      if (mail.kind !== 'ready') return await this.#finish(job, before, mail);
      const going = { ...(before ?? this.#asked(job)), personId: mail.personId, messageId: mail.messageId, to: mail.to, templateVersion: mail.templateVersion, nextAttemptAt: null, updatedAt: this.#clock.now() };
      const begun = await this.#deliveries.begin(going, before, job);
      return begun.state === 'sending' ? await this.#send(job, begun, channel, wire, mail, signal) : undefined;
    } finally {
      decide.leave();
    }
  }

  async #send(job: SendJob, begun: StoredDelivery, channel: Channel, wire: WireGate, mail: PreparedMail, signal: AbortSignal): Promise<Again> {
    await wire.enter();
    let result: ChannelResult;
    try {
      // A test goes to an address that staff gave, whatever the person whose data it shows has said.
      const personIds = job.source.kind === 'test' ? [] : [job.personId, begun.personId];
      const stopped = this.#suppressions.justSuppressed(job.workspace, job.channel, { address: mail.to, personIds }) ?? (await this.#deliveries.stoppedElsewhere({ ...begun, to: mail.to }, job.personId));
      if (stopped !== null) return await this.#finish(job, begun, { kind: 'suppressed', reason: stopped });
      const isLate = signal.aborted || this.#clock.now() - begun.updatedAt > FRESH_MS;
      result = isLate ? CHANNEL_BUSY : await this.#handOver(job, channel, mail, signal);
    } finally {
      wire.leave();
    }
    const settled = await this.#record(begun, result, job.trace);
    return isAtRest(settled.state) ? undefined : againAt(settled);
  }

  async #handOver(job: SendJob, channel: Channel, mail: PreparedMail, signal: AbortSignal): Promise<ChannelResult> {
    try {
      return await channel.send({ deliveryId: job.id, workspace: job.workspace, envelope: { from: mail.from, to: mail.to }, raw: mail.compose() }, signal);
    } catch (err) {
      this.#log.error({ deliveryId: job.id, err }, 'a channel threw where it should have answered');
      return { kind: 'deferred', response: 'The channel failed.', reason: 'channel_failed' };
    }
  }

  /** What is known of a mail on its way must not be lost to a disk that is full for a moment. */
  async #record(begun: StoredDelivery, result: ChannelResult, trace: Trace): Promise<StoredDelivery> {
    const now = this.#clock.now();
    const settled: StoredDelivery = { ...begun, ...settle(begun, result, this.#settings, now, Math.random), updatedAt: now };
    for (let tries = 1; ; tries++) {
      try {
        return await this.#deliveries.record(settled, begun, trace);
      } catch (fault) {
        if (tries === RECORD_TRIES || (Fault.is(fault) && fault.code === 'conflict')) {
          if (result !== INTERRUPTED && this.#unrecorded.size < MOST_UNRECORDED) this.#unrecorded.set(begun.deliveryId, result);
          throw fault;
        }
        await this.#pause(2 ** tries * 50);
      }
    }
  }

  /** Ends a delivery that was not handed to a channel. */
  async #finish(job: SendJob, before: StoredDelivery | null, { kind, reason, words }: NoMail): Promise<Again> {
    const now = this.#clock.now();
    const asked = before ?? this.#asked(job);
    const attempts = words === undefined ? asked.attempts : [...asked.attempts, { at: now, result: 'rejected' as const, reason, response: words.slice(0, 1_000) }];
    // An earlier try may have arrived after all; then `failed` would say too much.
    const state = kind === 'failed' && asked.mayBeRepeated ? 'uncertain' : kind;
    await this.#deliveries.record({ ...asked, attempts, state, reason, nextAttemptAt: null, updatedAt: now }, before, job.trace);
    return undefined;
  }

  /** The channel rests, or the renderer is busy: no try, but written down, so that everybody can see what is pending. */
  async #putOff(job: SendJob, before: StoredDelivery | null, reason: 'channel_paused' | 'renderer_busy', nextAttemptAt: EpochMs): Promise<Again> {
    const now = this.#clock.now();
    const asked = before ?? this.#asked(job);
    if (now - asked.createdAt >= this.#settings.giveUpAfterMs) return this.#finish(job, before, { kind: 'failed', reason });
    return againAt(await this.#deliveries.record({ ...asked, state: 'pending', reason, nextAttemptAt, updatedAt: now }, before, job.trace));
  }

  /** Null when the channel takes mails again, else until when it rests. */
  async #waitFor(channel: Channel, signal: AbortSignal): Promise<EpochMs | null> {
    const giveUpAt = this.#clock.now() + WAIT_FOR_CHANNEL_MS;
    for (;;) {
      const now = this.#clock.now();
      const until = channel.pausedUntil ?? null;
      if (until === null || now >= giveUpAt || signal.aborted) return until;
      await this.#pause(Math.max(Math.min(until, giveUpAt) - now, 10));
    }
  }

  #asked(job: SendJob): StoredDelivery {
    const now = this.#clock.now();
    return {
      workspace: job.workspace,
      deliveryId: job.id,
      personId: job.personId,
      to: null,
      templateId: job.templateId,
      templateVersion: null,
      channel: job.channel,
      source: job.source,
      state: 'pending',
      reason: null,
      messageId: messageIdOf(job.id, this.#preparation.senderDomain),
      mayBeRepeated: false,
      attempts: [],
      tries: 0,
      nextAttemptAt: null,
      createdAt: now,
      updatedAt: now,
    };
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#clock.after(ms, resolve));
  }

  #again(ms: number, reason: string): Again {
    return { notBefore: this.#clock.now() + ms, reason };
  }
}

function againAt({ nextAttemptAt, reason, updatedAt }: StoredDelivery): Again {
  return { notBefore: nextAttemptAt ?? updatedAt, reason: reason ?? 'pending' };
}
