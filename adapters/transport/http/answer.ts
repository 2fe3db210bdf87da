import { Fault, type FaultRecord } from '../../../src/kernel/fault.ts';
import type { Answer } from '../../../src/ports/transport.ts';
import { MAX_DEPTH, MAX_VALUE_BYTES } from './limits.ts';
import { textOf } from './values.ts';

/** An answer as JSON text: the value's, or, with `fault`, that of the fault's record. */
export interface AnswerText {
  readonly text: string;
  readonly fault: FaultRecord | undefined;
}

/** An answer that cannot leave becomes a fault `internal` that says so. */
export function answerText(answer: Answer): AnswerText {
  const fault = 'fault' in answer ? answer.fault : undefined;
  const written = textOf('fault' in answer ? answer.fault : answer.value);
  return 'text' in written ? { text: written.text, fault } : unanswerable(written.problem);
}

function unanswerable(problem: 'not_json' | 'too_large'): AnswerText {
  const message = problem === 'too_large' ? `The answer takes more than ${MAX_VALUE_BYTES} bytes. Large things go through the blob port, long lists in pages.` : `The answer is not JSON, or nested more than ${MAX_DEPTH} deep.`;
  return faultText(new Fault('internal', message, { reason: `answer_${problem}` }));
}

export function faultText(fault: Fault): AnswerText {
  const record = fault.toRecord();
  return { text: JSON.stringify(record), fault: record };
}
