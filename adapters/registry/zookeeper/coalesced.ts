/** Work of which one run at a time is enough: asked for while it runs, it runs once more afterwards. */
export class Coalesced {
  readonly #work: () => Promise<void>;
  #asked = false;
  #running: Promise<void> | undefined;

  /** `work` never rejects. */
  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Resolves when a run that began after this call has ended. */
  ask(): Promise<void> {
    this.#asked = true;
    this.#running ??= this.#run();
    return this.#running;
  }

  async #run(): Promise<void> {
    await null;
    while (this.#asked) {
      this.#asked = false;
      await this.#work();
    }
    this.#running = undefined;
  }
}
