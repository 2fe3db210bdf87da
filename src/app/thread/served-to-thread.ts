import type { Duplex } from 'node:stream';
import type { Call } from '../../kernel/call.ts';
import type { Clock } from '../../kernel/clock.ts';
import type { Contract } from '../../kernel/contract.ts';
import type { System } from '../../kernel/system.ts';
import type { Log } from '../../kernel/telemetry.ts';
import type { Bus } from '../../ports/bus.ts';
import type { Introduction, Server } from '../../ports/transport.ts';
import { busContract } from '../../fabric/bus-contract.ts';
import { BusService } from '../../fabric/bus-service.ts';
import { offerOf, Serving } from '../../fabric/serve.ts';
import { Target } from '../../fabric/target.ts';
import { rpcWith } from '../../../adapters/transport/rpc/transport.ts';
import { systemContract } from './system-contract.ts';
import { BETWEEN_THREADS } from './between-threads.ts';

export interface ServedToThreadOptions {
  readonly introduction: Pick<Introduction, 'host' | 'process'>;
  /** The contracts that the module calls. */
  readonly calls: readonly Contract<any>[];
  /** The stub of each, as a module on the main thread would have it. */
  readonly stub: <T>(contract: Contract<T>) => T;
  readonly bus: Bus;
  readonly system: System;
  readonly clock: Clock;
  readonly log: Log;
}

/** What a module on a thread calls outside, served by the main thread: other modules, the messages, the system's status. */
export class ServedToThread {
  readonly #server: Server<Duplex>;
  readonly #messages: BusService;

  constructor({ introduction, calls, stub, bus, system, clock, log }: ServedToThreadOptions) {
    this.#messages = new BusService({ bus, clock, log });
    const targets = [
      ...calls.map((contract) => targetOf(contract, stub(contract) as object)),
      targetOf(busContract, this.#messages),
      targetOf(systemContract, { status: (_: object, call: Call) => system.status(call) }),
    ];
    const offers = targets.map(({ contract }) => offerOf(contract));
    const contracts = Object.fromEntries(offers.map(({ name, hash }) => [name, hash]));
    this.#server = rpcWith(BETWEEN_THREADS).serve({ introduction: { ...introduction, contracts }, offers, secret: null }, new Serving(targets, log));
  }

  accept(stream: Duplex): void {
    this.#server.accept(stream);
  }

  /** The thread is gone: messages that it had in hand go back to their queues at once. */
  async close(): Promise<void> {
    await this.#messages.stop(0).finally(() => this.#server.stop(0));
  }
}

function targetOf(contract: Contract<any>, implementation: object): Target {
  const target = new Target(contract);
  target.serve(implementation);
  return target;
}
