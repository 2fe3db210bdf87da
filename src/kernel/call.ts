import { randomFillSync } from 'node:crypto';
import { type Deadline, deadlines } from './deadline.ts';
import type { EpochMs } from './clock.ts';
import { Fault } from './fault.ts';
import { newId } from './ids.ts';

/** Who asks. `id` names a row of portal's (user or API key) or, for `system`, the part of the program. */
export interface Actor {
  readonly kind: 'user' | 'api_key' | 'source' | 'recipient' | 'system' | 'anonymous';
  readonly id: string;
}

/** W3C Trace Context, level 1: 32 and 16 hex digits. */
export interface Trace {
  readonly traceId: string;
  readonly spanId: string;
}

export interface CallFields {
  /** The tenant; null only for what belongs to the whole installation (sign-up, set-up, operators). */
  readonly workspace: string | null;
  readonly actor: Actor;
  readonly deadline: EpochMs;
  readonly trace?: Trace;
  /** Makes a command repeatable: the same key has one effect and the same answer. 1 to 255 characters. */
  readonly idempotencyKey?: string | undefined;
  /** The caller's own wish to stop; a fault `cancelled` follows. A function makes it when somebody asks. */
  readonly signal?: AbortSignal | (() => AbortSignal) | undefined;
  readonly id?: string;
}

/**
 * Everything about a call but its request: explicit, last, small. Immutable; the abort signal is made only when
 * somebody asks for it, since most calls end without one.
 */
export class Call {
  readonly id: string;
  readonly workspace: string | null;
  readonly actor: Actor;
  readonly deadline: EpochMs;
  readonly trace: Trace;
  readonly idempotencyKey: string | undefined;
  #parent: AbortSignal | (() => AbortSignal) | undefined;
  #signal: AbortSignal | undefined;
  #late: Deadline | undefined;

  constructor(fields: CallFields) {
    this.id = fields.id ?? newId();
    this.workspace = fields.workspace;
    this.actor = fields.actor;
    this.deadline = fields.deadline;
    this.trace = fields.trace ?? newTrace();
    this.idempotencyKey = fields.idempotencyKey;
    this.#parent = fields.signal;
  }

  /** Aborts at the deadline (reason: Fault `deadline`) or when the caller cancels (Fault `cancelled`). */
  get signal(): AbortSignal {
    return (this.#signal ??= this.#makeSignal());
  }

  /** The caller's own signal, without the deadline. */
  get cancelSignal(): AbortSignal | undefined {
    if (typeof this.#parent === 'function') this.#parent = this.#parent();
    return this.#parent;
  }

  /** The callee has answered: nobody is told of the deadline any more. Only for whoever made this very call. */
  answered(): void {
    if (this.#late !== undefined) deadlines.remove(this.#late);
  }

  leftMs(now: EpochMs): number {
    return this.deadline - now;
  }

  /** The same call with a nearer deadline, another key, workspace or actor. The deadline never moves away. */
  with(change: { deadline?: EpochMs; idempotencyKey?: string; workspace?: string | null; actor?: Actor; signal?: AbortSignal }): Call {
    return new Call({
      id: this.id,
      workspace: change.workspace === undefined ? this.workspace : change.workspace,
      actor: change.actor ?? this.actor,
      deadline: Math.min(change.deadline ?? this.deadline, this.deadline),
      trace: this.trace,
      idempotencyKey: 'idempotencyKey' in change ? change.idempotencyKey : this.idempotencyKey,
      signal: change.signal ?? this.#parent,
    });
  }

  /** The workspace, or a fault `denied` when the call has none. Every workspace-bound read starts here. */
  requireWorkspace(): string {
    if (this.workspace === null) throw new Fault('denied', 'This needs a workspace; the call has none.', { reason: 'workspace_required' });
    return this.workspace;
  }

  #makeSignal(): AbortSignal {
    const controller = new AbortController();
    const entry = { slot: 0, index: -1, expire: () => controller.abort(deadlineFault()) };
    this.#late = entry;
    deadlines.add(entry, this.deadline);
    controller.signal.addEventListener('abort', () => deadlines.remove(entry), { once: true });
    const parent = this.cancelSignal;
    if (parent?.aborted) controller.abort(cancelledFault(parent));
    else parent?.addEventListener('abort', () => controller.abort(cancelledFault(parent)), { once: true, signal: controller.signal });
    return controller.signal;
  }
}

export function deadlineFault(): Fault {
  return new Fault('deadline', 'The call did not finish before its deadline.', { origin: 'lost' });
}

export function cancelledFault(signal: AbortSignal): Fault {
  return Fault.is(signal.reason) ? signal.reason : new Fault('cancelled', 'The caller cancelled the call.', { origin: 'lost' });
}

const TRACE_BYTES = 16;
const SPAN_BYTES = 8;
/** Drawn from the system for many traces at once: a draw costs more than all else that a call needs. */
const pool = Buffer.allocUnsafe((TRACE_BYTES + SPAN_BYTES) * 256);
let used = pool.length;

export function newTrace(): Trace {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const traceId = pool.toString('hex', used, used + TRACE_BYTES);
  const spanId = pool.toString('hex', used + TRACE_BYTES, used + TRACE_BYTES + SPAN_BYTES);
  used += TRACE_BYTES + SPAN_BYTES;
  return { traceId, spanId };
}

/** A call that no outside caller stands behind, e.g. from a timer. */
export function systemCall(part: string, workspace: string | null, deadline: EpochMs): Call {
  return new Call({ workspace, actor: { kind: 'system', id: part }, deadline });
}
