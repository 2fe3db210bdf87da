import { Fault, type FaultRecord, toFault } from '../../../src/kernel/fault.ts';
import type { Answer } from '../../../src/ports/transport.ts';
import { textOf } from './values.ts';

/** An answer as JSON text: the value's, or, with `fault`, that of the fault's record. */
export interface AnswerText {
  readonly text: string;
  readonly fault: FaultRecord | undefined;
}

/** An answer that cannot leave (too large, too deep) becomes a fault `internal` that says so. */
export function answerText(answer: Answer): AnswerText {
  try {
    if ('fault' in answer) return { text: textOf(answer.fault), fault: answer.fault };
    return { text: textOf(answer.value), fault: undefined };
  } catch (thrown) {
    const { reason, message } = toFault(thrown);
    const fault = new Fault('internal', `The answer cannot be sent. ${message}`, { reason: `answer_${reason}` }).toRecord();
    return { text: JSON.stringify(fault), fault };
  }
}
