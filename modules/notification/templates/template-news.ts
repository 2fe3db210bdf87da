import { inject, injectable } from 'inversify';
import { Clock } from '../../../src/kernel/clock.ts';
import { type Lifecycle, StartStop } from '../../../src/kernel/lifecycle.ts';
import type { MessageDefinition } from '../../../src/kernel/message.ts';
import { Hints } from '../../../src/ports/hints.ts';
import { templatePublished } from '../../portal/contract.ts';
import { Templates } from './templates.ts';

type Published = typeof templatePublished extends MessageDefinition<infer P> ? P : never;

/** The watching begins within this time, or the start does not wait for it. */
const BEGIN_MS = 1_000;

/**
 * A new version takes effect with the next mail, in every process: a queue would tell one of them. Started before
 * templates are fetched: a bus that is kept elsewhere says a gap when the watching begins there, which drops them all.
 */
@injectable()
export class TemplateNews implements Lifecycle {
  readonly #life: StartStop;
  #unwatch: (() => void) | undefined;

  constructor(@inject(Hints) hints: Hints, @inject(Templates) templates: Templates, @inject(Clock) clock: Clock) {
    this.#life = new StartStop(
      async () => {
        const begun = Promise.withResolvers<void>();
        this.#unwatch = hints.watch([templatePublished.name], {
          message(_topic, workspace, payload) {
            const { templateId, version } = JSON.parse(payload) as Published;
            if (workspace !== null) templates.drop(workspace, templateId, version);
          },
          gap() {
            templates.dropAll();
            begun.resolve();
          },
        });
        if (!hints.capabilities.spansHosts) return;
        const timer = clock.after(BEGIN_MS, begun.resolve);
        await begun.promise.finally(() => timer.cancel());
      },
      () => this.#unwatch?.(),
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }
}
