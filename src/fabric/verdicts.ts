import { incompatibilities } from '../kernel/compatibility.ts';
import { type Contract, schemasOf } from '../kernel/contract.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Link } from '../ports/transport.ts';

export interface VerdictsOptions {
  /** By the topology: whoever answers under another name is not called. */
  readonly host: string;
  /** What this process calls there. */
  readonly contracts: readonly Contract<any>[];
  readonly link: Link;
  readonly log: Log;
  /** Called when it is known what can be called. */
  readonly onJudged: () => void;
}

const JUDGE_AGAIN_MS = 1_000;
/** The verdict on a contract that can be called. */
const OK = 'ok';

/** Which contracts the process at the other end of a link can be called by: judged once for each process that answers there. */
export class Verdicts {
  readonly #options: VerdictsOptions;
  /** By contract; empty while nobody has looked. */
  readonly #verdicts = new Map<string, string>();
  /** The process that they speak of. */
  #judged: string | undefined;
  /** Looks again at a process that could not be asked. */
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: VerdictsOptions) {
    this.#options = options;
  }

  allows(contract: string): boolean {
    return this.#verdicts.get(contract) === OK;
  }

  /** Why the contract cannot be called; undefined when it can, or while nobody has looked. */
  problemOf(contract: string): string | undefined {
    const verdict = this.#verdicts.get(contract);
    return verdict === OK ? undefined : verdict;
  }

  /** Why one of the contracts cannot be called. */
  get problem(): string | undefined {
    return [...this.#verdicts.values()].find((verdict) => verdict !== OK);
  }

  /** The link is open: it may be another process than before. */
  opened(): void {
    if (this.#judged !== this.#options.link.peer?.process) void this.#judge();
  }

  /** Nothing is asked any more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #judge(): Promise<void> {
    const { link, log } = this.#options;
    const { peer } = link;
    clearTimeout(this.#timer);
    if (peer === undefined) return;
    this.#verdicts.clear();
    this.#judged = peer.process;
    const verdicts = await this.#read(peer).catch((thrown: unknown) => {
      log.warn({ err: thrown }, 'the contracts of a process could not be read; asked again soon');
      return undefined;
    });
    if (this.#judged !== peer.process || link.peer?.process !== peer.process) return;
    if (verdicts === undefined) return this.#judgeLater();
    for (const [contract, verdict] of verdicts) {
      this.#verdicts.set(contract, verdict);
      if (verdict !== OK) log.error({ contract, problem: verdict }, 'a process cannot be called: it does not fit this build');
    }
    this.#options.onJudged();
  }

  /** With the next connection, or soon when this one stays. */
  #judgeLater(): void {
    this.#judged = undefined;
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      if (this.#judged === undefined && this.#options.link.state === 'open') void this.#judge();
    }, JUDGE_AGAIN_MS);
  }

  /** Holds the contracts of the process that answers against those that this one calls. */
  async #read({ host: answering, contracts: hashes }: NonNullable<Link['peer']>): Promise<Map<string, string>> {
    const { contracts, host, link } = this.#options;
    if (answering !== host) return new Map(contracts.map(({ name }) => [name, `host ${answering} answers there, ${host} was expected. Correct the addresses of the topology.`]));
    const differing = contracts.filter(({ name, hash }) => hashes[name] !== undefined && hashes[name] !== hash);
    const offers = differing.length === 0 ? [] : await link.describe();
    return new Map(
      contracts.map(({ name, operations }) => {
        if (hashes[name] === undefined) return [name, `host ${answering} does not serve ${name}.`];
        if (!differing.some((one) => one.name === name)) return [name, OK];
        const offer = offers.find((one) => one.name === name);
        const problems = offer === undefined ? ['its operations are not described'] : incompatibilities(schemasOf(operations), offer.operations);
        return [name, problems.length === 0 ? OK : `${name} on host ${answering} does not fit: ${problems.slice(0, 5).join('; ')}. Run builds on both hosts that fit together.`];
      }),
    );
  }
}
