import { inject, injectable } from 'inversify';
import { type Lifecycle, StartStop } from '../../../src/kernel/lifecycle.ts';
import type { MessageDefinition } from '../../../src/kernel/message.ts';
import { Hints } from '../../../src/ports/hints.ts';
import { templatePublished } from '../../portal/contract.ts';
import { Templates } from './templates.ts';

type Published = typeof templatePublished extends MessageDefinition<infer P> ? P : never;

/** A new version takes effect with the next mail, in every process: a queue would tell one of them. */
@injectable()
export class TemplateNews implements Lifecycle {
  readonly #life: StartStop;
  #unwatch: (() => void) | undefined;

  constructor(@inject(Hints) hints: Hints, @inject(Templates) templates: Templates) {
    this.#life = new StartStop(
      () => {
        this.#unwatch = hints.watch([templatePublished.name], {
          message(_topic, workspace, payload) {
            const { templateId, version } = JSON.parse(payload) as Published;
            if (workspace !== null) templates.drop(workspace, templateId, version);
          },
          gap: () => templates.dropAll(),
        });
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
