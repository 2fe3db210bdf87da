import type { HostLog } from '../app/host/log.ts';
import { EXIT, type Io } from './command.ts';

/** After a defect nobody foresaw, state may be wrong: long enough to answer what is under way, no longer. */
const CRASH_DRAIN_MS = 3_000;
/** What a stop may take beyond its deadline, for closing what did not finish. */
const GRACE_MS = 2_000;

/** What runs until it is told to stop. */
export interface Running {
  /** Settles, with the exit code, when it has stopped. */
  readonly code: Promise<number>;
  isStopping(): boolean;
}

/**
 * Calls `stop` at the first signal or defect, with the time that it has; `afterMs`: what it may take on top for what
 * stops last. A second signal ends the process at once.
 */
export function untilStopped(stop: (deadlineMs: number) => Promise<void>, { deadlineMs, afterMs = 0 }: { readonly deadlineMs: number; readonly afterMs?: number }, log: HostLog, io: Io): Running {
  let stopping = false;
  const code = new Promise<number>((resolve) => {
    const stopWithin = async (exitCode: number, withinMs: number) => {
      stopping = true;
      // Should a part hang, or the start itself, this ends it all the same.
      setTimeout(() => {
        log.error({ deadlineMs: withinMs }, 'The stop did not end in time; the process ends now');
        log.flush();
        process.exit(EXIT.failed);
      }, withinMs + afterMs + GRACE_MS).unref();
      const problem = await stop(withinMs).then(
        () => undefined,
        (error: unknown) => error ?? 'unknown',
      );
      if (problem !== undefined) log.error({ err: problem }, 'Not everything stopped in order');
      log.flush();
      resolve(problem === undefined ? exitCode : EXIT.failed);
    };
    const onSignal = (signal: NodeJS.Signals) => {
      if (stopping) process.exit(EXIT.failed);
      log.info({ signal }, 'Stopping');
      io.out('Stopping …');
      void stopWithin(EXIT.ok, deadlineMs);
    };
    const onDefect = (error: unknown) => {
      log.error({ err: error }, 'A defect that nobody caught; the process ends');
      if (!stopping) void stopWithin(EXIT.failed, CRASH_DRAIN_MS);
    };
    process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
    process.on('uncaughtException', onDefect).on('unhandledRejection', onDefect);
  });
  return { code, isStopping: () => stopping };
}
