import { Fault } from '../../kernel/fault.ts';
import { BootProblem } from '../host/boot-problem.ts';
import type { StartProblem } from './protocol.ts';

/** Why a module could not start, as it crosses to the host. */
export function startProblemOf(error: unknown): StartProblem {
  if (error instanceof BootProblem) return { kind: 'boot', message: error.message, remedy: error.remedy };
  if (Fault.is(error)) return { kind: 'fault', record: error.toRecord() };
  return error instanceof Error ? { kind: 'error', message: error.message, stack: error.stack } : { kind: 'error', message: String(error), stack: undefined };
}

/** The same as an error again: what the module would have thrown on the main thread. */
export function errorOf(problem: StartProblem): Error {
  if (problem.kind === 'boot') return new BootProblem(problem.message, problem.remedy);
  if (problem.kind === 'fault') return Fault.fromRecord(problem.record);
  return Object.assign(new Error(problem.message), problem.stack === undefined ? {} : { stack: problem.stack });
}
