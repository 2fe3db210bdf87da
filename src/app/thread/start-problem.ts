import { Fault } from '../../kernel/fault.ts';
import { BootProblem } from '../host/boot-problem.ts';
import type { ErrorWords, StartProblem } from './protocol.ts';

/** Why a module could not start, as it crosses to the host. */
export function startProblemOf(error: unknown): StartProblem {
  if (error instanceof BootProblem) return { kind: 'boot', message: error.message, remedy: error.remedy, cause: causeOf(error) };
  if (Fault.is(error)) return { kind: 'fault', record: error.toRecord(), cause: causeOf(error) };
  return { kind: 'error', words: wordsOf(error) };
}

/** The same as an error again: what the module would have thrown on the main thread. */
export function errorOf(problem: StartProblem): Error {
  if (problem.kind === 'error') return errorFrom(problem.words);
  const cause = problem.cause && errorFrom(problem.cause);
  if (problem.kind === 'boot') return new BootProblem(problem.message, problem.remedy, cause);
  const fault = Fault.fromRecord(problem.record);
  return cause === undefined ? fault : fault.with({ cause });
}

function causeOf({ cause }: Error): ErrorWords | undefined {
  return cause === undefined ? undefined : wordsOf(cause);
}

function wordsOf(error: unknown): ErrorWords {
  return error instanceof Error ? { message: error.message, stack: error.stack } : { message: String(error), stack: undefined };
}

function errorFrom({ message, stack }: ErrorWords): Error {
  return Object.assign(new Error(message), stack === undefined ? {} : { stack });
}
