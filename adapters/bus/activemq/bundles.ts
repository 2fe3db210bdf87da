import type { Connection, Delivery, Frame } from './connection.ts';

/** One transaction of the broker: beyond this it gets no faster. */
const MOST = 200;
const BUNDLE_BYTES = 4 * 1024 * 1024;

interface Waiting {
  readonly frame: Frame | undefined;
  readonly acknowledged: Delivery | undefined;
  resolve(): void;
  reject(fault: unknown): void;
}

/** What comes up while the broker writes goes to it together: one transaction of a hundred is five times as fast as a hundred of one. */
export class Bundles {
  readonly #connection: Connection;
  #waiting: Waiting[] = [];
  #running = false;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Resolves when the broker has it. Faults: as the connection's. */
  deliver(frame: Frame): Promise<void> {
    return this.#add(frame, undefined);
  }

  acknowledge(delivery: Delivery): Promise<void> {
    return this.#add(undefined, delivery);
  }

  #add(frame: Frame | undefined, acknowledged: Delivery | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ frame, acknowledged, resolve, reject });
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    // What comes up in the same turn goes along.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const bundle = this.#next();
      try {
        const frames = bundle.flatMap(({ frame }) => frame ?? []);
        // Beside the transaction, since the broker keeps in its memory what is acknowledged in one.
        await Promise.all([frames.length > 0 && this.#connection.deliver(frames), this.#connection.acknowledge(bundle.flatMap(({ acknowledged }) => acknowledged ?? []))]);
        for (const { resolve } of bundle) resolve();
      } catch (fault) {
        for (const { reject } of bundle) reject(fault);
      }
    }
    this.#running = false;
  }

  #next(): readonly Waiting[] {
    let bytes = 0;
    const end = this.#waiting.findIndex(({ frame }, at) => at === MOST || ((bytes += frame?.body.length ?? 0) > BUNDLE_BYTES && at > 0));
    return this.#waiting.splice(0, end === -1 ? this.#waiting.length : end);
  }
}
