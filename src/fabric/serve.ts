import { Call, deadlineFault } from '../kernel/call.ts';
import { type Contract, type Descriptor, schemasOf } from '../kernel/contract.ts';
import { Fault, toFault } from '../kernel/fault.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Answer, ArrivedCall, ContractOffer, Dispatcher } from '../ports/transport.ts';
import { type Border, borderOf } from './border.ts';
import { faultOf } from './callee.ts';
import type { Target } from './target.ts';

interface ServedOperation {
  readonly name: string;
  readonly method: string;
  readonly target: Target;
  readonly border: Border;
}

/** Runs calls that arrive from other threads, processes and hosts, whatever transport brought them. */
export class Serving implements Dispatcher {
  readonly #contracts: ReadonlyMap<string, ReadonlyMap<string, ServedOperation>>;
  readonly #log: Log;
  /** Calls that have not been answered yet. */
  underWay = 0;

  constructor(targets: readonly Target[], log: Log) {
    this.#log = log;
    this.#contracts = new Map(targets.map((target) => [target.contract.name, operationsOf(target)]));
  }

  async dispatch(arrived: ArrivedCall): Promise<Answer> {
    const operation = this.#contracts.get(arrived.contract)?.get(arrived.method);
    if (operation === undefined) return refusal(this.#unknown(arrived));
    const { target, border, method, name } = operation;
    const { implementation } = target;
    if (implementation === undefined) return refusal(target.notRunning());
    if (arrived.deadline <= Date.now()) return refusal(new Fault('deadline', 'The deadline had passed when the call arrived.', { origin: 'unsent' }));
    const call = new Call({ ...fieldsOf(arrived), signal: () => signalOf(arrived) });
    this.underWay++;
    try {
      return { value: border.release(await implementation[method]!(border.admit(arrived.request), call)) };
    } catch (thrown) {
      return refusal(faultOf(border.declare(toFault(thrown)), name, call, this.#log));
    } finally {
      call.answered();
      this.underWay--;
    }
  }

  #unknown({ contract, method }: ArrivedCall): Fault {
    const known = this.#contracts.get(contract);
    if (known === undefined) return new Fault('not_found', `This host does not serve the contract ${contract}. It serves: ${[...this.#contracts.keys()].join(', ') || 'none'}.`, { details: { contract } });
    return new Fault('not_found', `The contract ${contract} has no operation ${method}. It has: ${[...known.keys()].join(', ')}.`, { details: { contract, method } });
  }
}

/** What other hosts are shown of a contract. */
export function offerOf({ name, hash, operations }: Contract<any>): ContractOffer {
  return { name, hash, operations: schemasOf(operations) };
}

function operationsOf(target: Target): ReadonlyMap<string, ServedOperation> {
  const { contract } = target;
  return new Map(Object.entries<Descriptor>(contract.operations).map(([method, descriptor]) => [method, { name: `${contract.name}.${method}`, method, target, border: borderOf(contract, method, descriptor) }]));
}

function fieldsOf({ id, workspace, actor, deadline, trace, idempotencyKey }: ArrivedCall): ConstructorParameters<typeof Call>[0] {
  return { id, workspace, actor, deadline, trace, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) };
}

/** Clocks and wires are not exact: a caller that lets go so shortly before the deadline has let go at the deadline. */
const DEADLINE_SLACK_MS = 50;

/** The caller's wish to stop. A caller whose deadline has passed says so by cancelling; the callee hears of the deadline. */
function signalOf({ signal, deadline }: ArrivedCall): AbortSignal {
  const controller = new AbortController();
  const abort = (): void => controller.abort(Date.now() >= deadline - DEADLINE_SLACK_MS ? deadlineFault() : signal.reason);
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
  return controller.signal;
}

function refusal(fault: Fault): Answer {
  return { fault: fault.toRecord() };
}
