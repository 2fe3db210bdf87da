import type { Fault } from '../../src/kernel/fault.ts';
import type { ContractOffer, Introduction, Link, LinkState, RemoteCall, Reply } from '../../src/ports/transport.ts';

/** A call that was sent over a scripted link and waits for what the test makes of it. */
export interface SentCall extends Reply {
  readonly call: RemoteCall;
  cancelled: boolean;
}

/** A link whose other side is the test. */
export class ScriptedLink implements Link {
  state: LinkState = 'closed';
  peer: Introduction | undefined;
  leftInOrder = false;
  problem: string | undefined = 'It was not started.';
  readonly traffic = { sent: 0, received: 0 };
  onChange: (() => void) | undefined;
  readonly sent: SentCall[] = [];
  offers: readonly ContractOffer[] | Fault = [];
  described = 0;
  /** What each call is answered with at once; undefined leaves it to the test. */
  answer: ((call: RemoteCall, reply: Reply) => void) | undefined;
  stoppedWithin: number | undefined;

  get pending(): number {
    return this.sent.filter(({ cancelled }) => !cancelled).length;
  }

  async start(): Promise<void> {
    this.become('connecting', 'It is connecting.');
  }

  async stop(deadlineMs: number): Promise<void> {
    this.stoppedWithin = deadlineMs;
    this.become('closed', 'It was stopped.');
  }

  open(peer: Introduction): void {
    this.peer = peer;
    this.become('open', undefined);
  }

  /** The other side says that it stops. */
  leave(): void {
    this.leftInOrder = true;
    this.become('connecting', 'The host is stopping.');
  }

  /** The other side is killed or cut off. */
  break(): void {
    this.leftInOrder = false;
    this.become('connecting', 'The connection ended.');
  }

  become(state: LinkState, problem: string | undefined): void {
    const isChange = this.state !== state;
    this.state = state;
    this.problem = problem;
    if (isChange) this.onChange?.();
  }

  send(call: RemoteCall, reply: Reply): () => void {
    const sent: SentCall = { call, cancelled: false, succeed: (value) => reply.succeed(value), fail: (fault) => reply.fail(fault) };
    this.sent.push(sent);
    const { answer } = this;
    if (answer !== undefined) queueMicrotask(() => sent.cancelled || answer(call, reply));
    return () => void (sent.cancelled = true);
  }

  async describe(): Promise<readonly ContractOffer[]> {
    this.described++;
    if (Array.isArray(this.offers)) return this.offers as readonly ContractOffer[];
    throw this.offers as Fault;
  }
}
