import type { FaultRecord } from '../../kernel/fault.ts';
import type { Installation } from '../../kernel/module.ts';
import type { EdgeStatus } from '../../kernel/system.ts';
import type { StreamEnd } from '../../../adapters/transport/thread/thread-stream.ts';
import type { Config } from '../config/config.ts';
import type { Level } from '../host/log.ts';
import type { Measured } from '../host/metrics.ts';

/** What a thread is started with: plain data. */
export interface ThreadData {
  readonly config: Config;
  /** By the topology. */
  readonly host: string;
  /** The one that runs in this thread. */
  readonly module: string;
  readonly installation: Installation;
  readonly pulse: SharedArrayBuffer;
}

/** What the host tells the thread. */
export type ToThread =
  /** The host calls the module over it from now on. */
  | { readonly kind: 'connection'; readonly end: StreamEnd }
  | { readonly kind: 'measure' }
  /** Take no more messages, finish those that are under way; calls go on. */
  | { readonly kind: 'drain'; readonly deadlineMs: number }
  /** Finish what is under way, close everything, end. */
  | { readonly kind: 'stop'; readonly deadlineMs: number };

/** What the thread tells the host. */
export type FromThread =
  /** The module is ready for calls. */
  | { readonly kind: 'started' }
  /** It cannot start; the thread ends. */
  | { readonly kind: 'refused'; readonly problem: StartProblem }
  | { readonly kind: 'drained' }
  /** It has stopped, with what did not go in order; the thread ends. */
  | { readonly kind: 'stopped'; readonly problem: string | null }
  /** The module calls the host over it. */
  | { readonly kind: 'connection'; readonly end: StreamEnd }
  | { readonly kind: 'measured'; readonly metrics: Measured }
  /** What the module calls, and how that goes, and what waits for a bus that takes nothing; once a second. */
  | { readonly kind: 'edges'; readonly edges: readonly EdgeStatus[]; readonly waiting: readonly string[] }
  | LogLine;

export interface LogLine {
  readonly kind: 'log';
  readonly level: Level;
  /** JSON text. */
  readonly fields: string;
  readonly message: string;
}

/** Why a module could not start, as it crosses: the kinds of error that say what to do, with what is behind them, and the rest as words. */
export type StartProblem =
  | { readonly kind: 'boot'; readonly message: string; readonly remedy: string; readonly cause: ErrorWords | undefined }
  | { readonly kind: 'fault'; readonly record: FaultRecord; readonly cause: ErrorWords | undefined }
  | { readonly kind: 'error'; readonly words: ErrorWords };

export interface ErrorWords {
  readonly message: string;
  readonly stack: string | undefined;
}
