import { setImmediate as nextTurn } from 'node:timers/promises';
import { inject, injectable } from 'inversify';
import { Clock, type EpochMs, type Timer } from '../../../src/kernel/clock.ts';
import { toFault } from '../../../src/kernel/fault.ts';
import { type Lifecycle, StartStop } from '../../../src/kernel/lifecycle.ts';
import { Settings } from '../../../src/kernel/module.ts';
import { type Counter, Log, Metrics } from '../../../src/kernel/telemetry.ts';
import { Store } from '../../../src/ports/storage.ts';
import type { TriggerSettings } from '../settings.ts';
import type { TriggerTables } from '../tables.ts';
import { nextPurge, purge, purged, putOff, soonest } from './agenda-statements.ts';
import { type Fired, Firing } from './firing.ts';

const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 30_000;
/** How long a row that cannot be fired makes room for the others. */
const PUT_OFF_MS = 600_000;
/** How often an agenda that processes share is looked into unasked: who planned something may be gone when it is due. */
const LOOK_MS = 30_000;
const PURGE_ROWS = 500;
/** Faults that say nothing about the row: the same batch is tried again. */
const PASSING = new Set(['unavailable', 'exhausted', 'deadline', 'cancelled']);

/**
 * Fires what is due. There is no schedule in memory: one timer is set to the time of the first row, again after each
 * round, and earlier when something is planned before it. A round takes what is due in batches, one transaction and
 * one turn of the event loop each, so that years of what was missed do not hold anything up. After a fault the round
 * is tried again; a row that fails by itself is put off, so that it does not hold up the others.
 */
@injectable()
export class Agenda implements Lifecycle {
  readonly #store: Store<TriggerTables>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #firing: Firing;
  readonly #fired: Counter;
  readonly #life: StartStop;
  readonly #batchRows: number;
  #limit: number;
  /** Of the batch that was tried last. */
  #first: { readonly due: EpochMs; readonly run_id: string } | undefined;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #look: Timer | undefined;
  #looking: Promise<void> | undefined;
  #round: Promise<void> | undefined;
  #again = false;
  #mayPurge = true;
  #retryMs = FIRST_RETRY_MS;

  constructor(
    @inject(Store) store: Store<TriggerTables>,
    @inject(Clock) clock: Clock,
    @inject(Log) log: Log,
    @inject(Metrics) metrics: Metrics,
    @inject(Settings) settings: TriggerSettings,
    @inject(Firing) firing: Firing,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#firing = firing;
    this.#batchRows = this.#limit = settings.agendaBatchRows;
    this.#fired = metrics.counter('trigger_agenda_fired_total', 'Rows of the agenda that came due, by what became of them.', ['outcome']);
    metrics.gauge('trigger_agenda_lag_seconds', 'How long the oldest due row of the agenda has been waiting.', () => this.#lagSeconds());
    this.#life = new StartStop(
      () => {
        this.#wake();
        if (store.capabilities.shared) this.#lookOften();
      },
      () => this.#finish(),
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  /** What is due and not done stays for the next start. */
  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  /**
   * To be called within the transaction that plans something: a round's own transaction comes after that one, and
   * finds what it has committed.
   */
  expect(due: EpochMs): void {
    this.#arm(due);
  }

  /** An automation was turned off: its rows are to be cleared away. */
  purgeSoon(): void {
    this.#mayPurge = true;
    this.#wake();
  }

  #wake(): void {
    if (this.#life.state !== 'starting' && this.#life.state !== 'running') return;
    this.#timer?.cancel();
    this.#timerAt = Number.POSITIVE_INFINITY;
    if (this.#round !== undefined) {
      this.#again = true;
      return;
    }
    this.#round = this.#work().finally(() => {
      this.#round = undefined;
      if (this.#again) {
        this.#again = false;
        this.#wake();
      }
    });
  }

  #arm(time: EpochMs): void {
    if (time >= this.#timerAt || this.#life.state === 'stopping' || this.#life.state === 'stopped') return;
    this.#timer?.cancel();
    this.#timerAt = time;
    this.#timer = this.#clock.at(time, () => this.#wake());
  }

  /** What others have planned sets the timer too. */
  #lookOften(): void {
    this.#look = this.#clock.after(LOOK_MS, () => {
      this.#looking = this.#store
        .run(soonest, {})
        .then(([first]) => first && this.#arm(first.due))
        .catch((err: unknown) => this.#log.debug({ err }, 'agenda not looked into; tried again'))
        .finally(() => {
          if (this.#life.state === 'starting' || this.#life.state === 'running') this.#lookOften();
        });
    });
  }

  async #finish(): Promise<void> {
    this.#timer?.cancel();
    this.#look?.cancel();
    await this.#looking;
    await this.#round;
    this.#timer?.cancel();
  }

  async #work(): Promise<void> {
    try {
      let busy = true;
      while (busy && this.#life.state !== 'stopping') {
        const next = await this.#fire();
        busy = next === undefined || (await this.#purge());
        if (!busy) this.#arm(next!);
        else await nextTurn();
      }
      this.#retryMs = FIRST_RETRY_MS;
    } catch (thrown) {
      await this.#failed(thrown);
    }
  }

  /** One batch. Answers when there is something to do again, or nothing when that is now. */
  async #fire(): Promise<EpochMs | undefined> {
    const now = this.#clock.now();
    const [fired, next] = await this.#store.transaction(async (tx): Promise<[Fired | undefined, number]> => {
      [this.#first] = await tx.run(soonest, {});
      const due = this.#first?.due ?? Number.POSITIVE_INFINITY;
      return due > now ? [undefined, due] : [await this.#firing.fire(tx, now, this.#limit), due];
    });
    if (fired === undefined) return next;
    this.#limit = Math.min(this.#limit * 2, this.#batchRows);
    this.#fired.add(fired.sent, { outcome: 'sent' });
    this.#fired.add(fired.taken - fired.sent, { outcome: 'left' });
    return undefined;
  }

  /** One batch of rows of automations that were turned off. Answers whether there may be more. */
  async #purge(): Promise<boolean> {
    if (!this.#mayPurge) return false;
    this.#mayPurge = await this.#store.transaction(async (tx) => {
      const [next] = await tx.run(nextPurge, {});
      if (next === undefined) return false;
      const which = { workspace: next.workspace, automationId: next.automation_id };
      const rows = await tx.run(purge, { ...which, epoch: next.epoch ?? 0, limit: PURGE_ROWS });
      if (rows.length < PURGE_ROWS) await tx.run(purged, which);
      return true;
    });
    return this.#mayPurge;
  }

  async #failed(thrown: unknown): Promise<void> {
    const { code, reason } = toFault(thrown);
    this.#log.warn({ code, reason, err: thrown, retryMs: this.#retryMs }, 'agenda not fired; tried again');
    const alone = this.#limit === 1;
    if (!PASSING.has(code) || code === 'deadline') this.#limit = 1;
    if (alone && !PASSING.has(code)) await this.#putOffFirst();
    this.#arm(this.#clock.now() + this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
  }

  async #putOffFirst(): Promise<void> {
    const first = this.#first;
    const now = this.#clock.now();
    if (first === undefined || first.due > now) return;
    try {
      await this.#store.transaction(async (tx) => {
        const [row] = await tx.run(putOff, { due: first.due, runId: first.run_id, until: now + PUT_OFF_MS });
        // Another process has put it off, or fired it.
        if (row === undefined) return;
        this.#log.error({ workspace: row.workspace, automationId: row.automation_id, runId: first.run_id, putOffMs: PUT_OFF_MS }, 'a run cannot be fired; it is put off');
      });
      this.#retryMs = FIRST_RETRY_MS;
    } catch (thrown) {
      this.#log.warn({ err: thrown }, 'a run that cannot be fired could not be put off');
    }
  }

  async #lagSeconds(): Promise<number> {
    const [first] = await this.#store.run(soonest, {});
    return first === undefined ? 0 : Math.max(0, this.#clock.now() - first.due) / 1_000;
  }
}
