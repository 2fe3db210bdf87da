import { createHmac } from 'node:crypto';
import { type Call, systemCall } from '../../kernel/call.ts';
import { type Lifecycle, StartStop } from '../../kernel/lifecycle.ts';
import { type HostStatus, STATUS_MS } from '../../kernel/system.ts';
import type { Log } from '../../kernel/telemetry.ts';
import { plainly, type Trouble } from './trouble.ts';
import { twinsIn } from './twins.ts';

/** Tells installations apart without telling anything of their secret. */
export function fingerprintOf(secret: Uint8Array): string {
  return createHmac('sha256', secret).update('installation').digest('hex').slice(0, 16);
}

const EVERY_MS = 30_000;

export interface SameInstallationOptions {
  readonly fingerprint: string;
  /** What the other processes of the topology say of themselves; those that can be asked. */
  readonly others: (call: Call) => Promise<readonly HostStatus[]>;
  /** This process, where its host has one alone. */
  readonly own?: { readonly host: string; readonly process: string };
  readonly log: Log;
  /** Default 30 s. */
  readonly everyMs?: number;
}

/**
 * Looks from time to time whether the other hosts have the same `installation.json`. A module that was moved without it
 * makes links that nobody else, and not even it did before, can read. And whether they call another process as this host:
 * both take its messages then, each for a database of its own. A process that was just killed may still be called, so
 * only two looks in a row tell.
 */
export class SameInstallation implements Lifecycle {
  readonly #options: SameInstallationOptions;
  readonly #life: StartStop;
  /** Hosts that differ. */
  #strangers: readonly string[] = [];
  /** Where other processes were called as this host at the last look, and at the last two. */
  #suspects: readonly string[] = [];
  #twins: readonly string[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: SameInstallationOptions) {
    this.#options = options;
    this.#life = new StartStop(
      () => void this.#look(),
      () => clearTimeout(this.#timer),
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  problems(): Trouble[] {
    const strangers = this.#strangers.map((host) => plainly(`${host}: it has another installation.json than this host; copy one to both, the one that is older, and restart the other`));
    return this.#twins.length === 0 ? strangers : [...strangers, { detail: this.#twinText(` at ${this.#twins.join(', ')}`), plain: this.#twinText('') }];
  }

  #twinText(at: string): string {
    return `${this.#options.own!.host}: the others call another process of it${at}, and both take its messages. Stop one of the two for good; several need replicas, and a storage that they share.`;
  }

  async #look(): Promise<void> {
    const { fingerprint, others, own, log, everyMs = EVERY_MS } = this.#options;
    const statuses = await others(systemCall('installation', null, Date.now() + STATUS_MS)).catch((): HostStatus[] => []);
    const strangers = [...new Set(statuses.filter(({ installation }) => installation !== fingerprint).map(({ host }) => host))];
    if (strangers.join() !== this.#strangers.join() && strangers.length > 0) log.error({ hosts: strangers }, 'other hosts have another installation.json than this one: links and sessions of one mean nothing to the other');
    this.#strangers = strangers;
    const suspects = own === undefined ? [] : twinsIn(statuses, own);
    const twins = suspects.filter((address) => this.#suspects.includes(address));
    this.#suspects = suspects;
    if (twins.join() !== this.#twins.join() && twins.length > 0) log.error({ at: twins }, 'the others call another process as this host, and both take its messages: stop one of the two');
    this.#twins = twins;
    if (this.#life.state === 'starting' || this.#life.state === 'running') this.#timer = setTimeout(() => void this.#look(), everyMs).unref();
  }
}
