import { createHmac } from 'node:crypto';
import { type Call, systemCall } from '../../kernel/call.ts';
import { type Lifecycle, StartStop } from '../../kernel/lifecycle.ts';
import { type HostStatus, STATUS_MS } from '../../kernel/system.ts';
import type { Log } from '../../kernel/telemetry.ts';

/** Tells installations apart without telling anything of their secret. */
export function fingerprintOf(secret: Uint8Array): string {
  return createHmac('sha256', secret).update('installation').digest('hex').slice(0, 16);
}

const EVERY_MS = 30_000;

export interface SameInstallationOptions {
  readonly fingerprint: string;
  /** What the other processes of the topology say of themselves; those that can be asked. */
  readonly others: (call: Call) => Promise<readonly HostStatus[]>;
  readonly log: Log;
}

/**
 * Looks from time to time whether the other hosts have the same `installation.json`. A module that was moved without it
 * makes links that nobody else, and not even it did before, can read.
 */
export class SameInstallation implements Lifecycle {
  readonly #options: SameInstallationOptions;
  readonly #life: StartStop;
  /** Hosts that differ. */
  #strangers: readonly string[] = [];
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

  problems(): string[] {
    return this.#strangers.map((host) => `${host}: it has another installation.json than this host; copy one to both, the one that is older, and restart the other`);
  }

  async #look(): Promise<void> {
    const { fingerprint, others, log } = this.#options;
    const statuses = await others(systemCall('installation', null, Date.now() + STATUS_MS)).catch((): HostStatus[] => []);
    const strangers = [...new Set(statuses.filter(({ installation }) => installation !== fingerprint).map(({ host }) => host))];
    if (strangers.join() !== this.#strangers.join() && strangers.length > 0) log.error({ hosts: strangers }, 'other hosts have another installation.json than this one: links and sessions of one mean nothing to the other');
    this.#strangers = strangers;
    if (this.#life.state === 'starting' || this.#life.state === 'running') this.#timer = setTimeout(() => void this.#look(), EVERY_MS).unref();
  }
}
