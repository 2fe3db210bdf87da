import { inject, injectable } from 'inversify';
import type { Received } from '../../../src/kernel/message.ts';
import type { TransactionalHandler } from '../../../src/kernel/module.ts';
import { Templates } from './templates.ts';

interface Published {
  readonly templateId: string;
  readonly version: number;
}

/** A new version takes effect with the next mail. */
@injectable()
export class TemplatePublishedHandler implements TransactionalHandler<Published> {
  readonly #templates: Templates;

  constructor(@inject(Templates) templates: Templates) {
    this.#templates = templates;
  }

  async handle({ workspace, payload }: Received<Published>): Promise<void> {
    if (workspace !== null) this.#templates.drop(workspace, payload.templateId, payload.version);
  }
}
