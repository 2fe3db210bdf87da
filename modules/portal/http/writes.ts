import { inject, injectable } from 'inversify';
import { Fault, toFault } from '../../../src/kernel/fault.ts';
import { Log } from '../../../src/kernel/telemetry.ts';
import { Store } from '../../../src/ports/storage.ts';
import { Audit, type AuditedAction, type AuditOutcome } from '../audit/audit.ts';
import type { Tables } from '../tables.ts';
import { Idempotency, type Reservation, type StoredAnswer } from './idempotency.ts';
import { noteLastWrite } from './last-write.ts';
import type { Principal } from './principal.ts';

/** A request that changes something. */
export interface Write {
  /** Null on public routes. */
  readonly by: Principal | null;
  /** Undefined: not in the audit log. */
  readonly audited: AuditedAction | undefined;
  /** Undefined: not repeatable. */
  readonly key: { readonly value: string; readonly owner: readonly (string | null)[]; readonly request: readonly (string | Uint8Array)[] } | undefined;
}

export interface Done {
  readonly answer: StoredAnswer;
  readonly targetId: string | null;
}

interface Begun {
  readonly entryId: string | undefined;
  readonly reservation: Reservation | undefined;
}

/** These say that nothing was changed and that the same request would be refused again. */
const DECIDED = new Set<Fault['code']>(['invalid', 'denied', 'not_found', 'conflict']);

/** Surrounds each change with its audit entry and its idempotency key: one short transaction before, one after. */
@injectable()
export class Writes {
  readonly #store: Store<Tables>;
  readonly #audit: Audit;
  readonly #idempotency: Idempotency;
  readonly #log: Log;

  constructor(@inject(Store) store: Store<Tables>, @inject(Audit) audit: Audit, @inject(Idempotency) idempotency: Idempotency, @inject(Log) log: Log) {
    this.#store = store;
    this.#audit = audit;
    this.#idempotency = idempotency;
    this.#log = log;
  }

  /** `answerOf` is how a fault goes out, so that a decided one can be given again. */
  async run(write: Write, work: () => Promise<Done>, answerOf: (fault: Fault) => StoredAnswer): Promise<{ answer: StoredAnswer; again: boolean }> {
    const begun = await this.#begin(write);
    if ('status' in begun) return { answer: begun, again: true };
    try {
      const { answer, targetId } = await work();
      await this.#finish(write, begun, 'done', targetId, answer);
      return { answer, again: false };
    } catch (thrown) {
      const fault = toFault(thrown);
      const decided = DECIDED.has(fault.code) && fault.origin === 'reply';
      await this.#finish(write, begun, `${decided ? 'refused' : 'failed'}:${fault.reason}`, write.audited?.targetId ?? null, decided ? answerOf(fault) : undefined);
      throw thrown;
    }
  }

  #begin({ audited, key }: Write): Promise<Begun | StoredAnswer> | Begun {
    if (audited === undefined && key === undefined) return { entryId: undefined, reservation: undefined };
    return this.#store.transaction(async (tx): Promise<Begun | StoredAnswer> => {
      const reservation = key === undefined ? undefined : await this.#idempotency.reserve(tx, key.owner, key.value, key.request);
      if (reservation !== undefined && 'status' in reservation) return reservation;
      return { entryId: audited === undefined ? undefined : await this.#audit.begin(tx, audited), reservation };
    });
  }

  /** The deed stands whatever happens here; a lost note is logged, and the entry stays `begun`. */
  async #finish({ by }: Write, { entryId, reservation }: Begun, outcome: AuditOutcome, targetId: string | null, answer: StoredAnswer | undefined): Promise<void> {
    if (entryId === undefined && reservation === undefined) return;
    try {
      await this.#store.transaction(async (tx) => {
        if (by !== null) await noteLastWrite(tx, by);
        if (entryId !== undefined) await this.#audit.complete(tx, entryId, outcome, targetId);
        if (reservation === undefined) return;
        if (answer === undefined) await this.#idempotency.release(tx, reservation);
        else await this.#idempotency.keep(tx, reservation, answer);
      });
    } catch (thrown) {
      this.#log.error({ entryId, outcome, err: thrown }, 'What became of a change could not be noted.');
    }
  }
}
