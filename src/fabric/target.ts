import type { Call } from '../kernel/call.ts';
import type { Contract, Descriptor } from '../kernel/contract.ts';
import { Fault } from '../kernel/fault.ts';

/** A module's implementation as the fabric sees it, method by method. */
export type Implementation = Readonly<Record<string, (request: unknown, call: Call) => Promise<unknown>>>;

/**
 * Where calls of a contract end up. Stubs are made before the modules are, since two modules may call each other;
 * the implementation moves in when it is built and out when the module stops.
 */
export class Target {
  readonly contract: Contract<any>;
  #implementation: Implementation | undefined;

  constructor(contract: Contract<any>) {
    this.contract = contract;
  }

  /** @throws TypeError naming every operation of the contract that the implementation lacks. */
  serve(implementation: object): void {
    const methods = implementation as Implementation;
    const missing = Object.keys(this.contract.operations).filter((name) => typeof methods[name] !== 'function');
    if (missing.length > 0) throw new TypeError(`The implementation of contract ${this.contract.name} lacks: ${missing.join(', ')}.`);
    this.#implementation = methods;
  }

  withdraw(): void {
    this.#implementation = undefined;
  }

  /** Undefined while the module does not run. */
  get implementation(): Implementation | undefined {
    return this.#implementation;
  }

  /** What whoever calls then is told. */
  notRunning(): Fault {
    return new Fault('unavailable', `Module ${this.contract.name} is not running.`, { reason: NOT_RUNNING, origin: 'unsent' });
  }
}

/** The reason of a refusal because the module has not started yet, or has stopped. */
export const NOT_RUNNING = 'not_running';

/** Makes what a caller injects: one function per operation of the contract. */
export function stubOf<T>(contract: Contract<T>, make: (method: string, descriptor: Descriptor) => Implementation[string]): T {
  const stub = Object.fromEntries(Object.entries(contract.operations).map(([method, descriptor]) => [method, make(method, descriptor as Descriptor)]));
  return Object.freeze(stub) as T;
}
