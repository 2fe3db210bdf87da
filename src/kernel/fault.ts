/** The kinds of failure, with the HTTP status that each maps to. The only such table. */
export const FAULT_STATUS = {
  invalid: 400,
  unauthenticated: 401,
  denied: 403,
  not_found: 404,
  conflict: 409,
  exhausted: 429,
  cancelled: 499,
  internal: 500,
  unavailable: 503,
  deadline: 504,
} as const;

export type FaultCode = keyof typeof FAULT_STATUS;

/**
 * What is known of the call that failed: `reply`, the callee answered; `unsent`, it surely did not run;
 * `lost`, nobody knows whether it ran.
 */
export type FaultOrigin = 'reply' | 'unsent' | 'lost';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface FaultDetails {
  readonly [key: string]: Json;
}

/** What crosses a process border. The stack and the cause stay with the callee, in its log. */
export interface FaultRecord {
  readonly code: FaultCode;
  readonly reason: string;
  readonly message: string;
  readonly details: FaultDetails;
  readonly origin: FaultOrigin;
  /** Left out unless true. */
  readonly spent?: boolean;
}

export interface FaultOptions {
  /** Stable, declared by the contract, for programs to act on. Default: the code. */
  readonly reason?: string;
  /** JSON, safe to show to the caller: no secrets, no personal data. */
  readonly details?: FaultDetails;
  /** Default `reply`. */
  readonly origin?: FaultOrigin;
  /** Default false. */
  readonly spent?: boolean;
  readonly cause?: unknown;
}

const BRAND = Symbol.for('multilith.Fault');

/** A failure as a value with a code. The message says what was wrong, where, and what to do. */
export class Fault extends Error {
  readonly [BRAND] = true;
  readonly code: FaultCode;
  readonly reason: string;
  readonly details: FaultDetails;
  readonly origin: FaultOrigin;
  /**
   * It ended a call to another process, which was made again there as often as it was worth. Whoever passes it on is not
   * called again for it: that would multiply the tries of every process on the way.
   */
  readonly spent: boolean;

  constructor(code: FaultCode, message: string, options: FaultOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Fault';
    this.code = code;
    this.reason = options.reason ?? code;
    this.details = options.details ?? {};
    this.origin = options.origin ?? 'reply';
    this.spent = options.spent ?? false;
  }

  /** True across copies of this module (identity by symbol, not by class). */
  static is(value: unknown): value is Fault {
    return typeof value === 'object' && value !== null && BRAND in value;
  }

  static fromRecord(record: FaultRecord): Fault {
    return new Fault(record.code, record.message, record);
  }

  toRecord(): FaultRecord {
    const { code, reason, message, details, origin, spent } = this;
    return { code, reason, message, details, origin, ...(spent ? { spent } : {}) };
  }

  /** The same with something else known of it. */
  with(change: Pick<FaultOptions, 'origin' | 'spent' | 'cause'>): Fault {
    const { reason, details, origin, spent, cause } = this;
    return new Fault(this.code, this.message, { reason, details, origin, spent, cause, ...change });
  }
}

/**
 * Any thrown value as a Fault. What is not a Fault becomes `internal` with a neutral message, so that nothing
 * of the callee's inside leaks; the original stays as `cause` for the callee's log.
 */
export function toFault(thrown: unknown): Fault {
  return Fault.is(thrown) ? thrown : new Fault('internal', 'Something went wrong on our side. It has been logged.', { cause: thrown });
}

/**
 * Whether the same call may be made again without risk of a second effect.
 * `repeatable`: a query, or a command with an idempotency key.
 */
export function mayRetry(fault: Fault, repeatable: boolean): boolean {
  if (fault.origin === 'unsent') return true;
  // A callee that answers `unavailable` may have had a part of its effect before.
  return repeatable && (fault.origin === 'lost' || fault.code === 'unavailable');
}
