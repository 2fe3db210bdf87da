import { inject, injectable } from 'inversify';
import type { Received } from '../../../src/kernel/message.ts';
import type { TransactionalHandler } from '../../../src/kernel/module.ts';
import { Templates } from './templates.ts';

/** A new version takes effect with the next mail. */
@injectable()
export class TemplatePublishedHandler implements TransactionalHandler<{ templateId: string }> {
  readonly #templates: Templates;

  constructor(@inject(Templates) templates: Templates) {
    this.#templates = templates;
  }

  async handle({ workspace, payload }: Received<{ templateId: string }>): Promise<void> {
    if (workspace !== null) this.#templates.drop(workspace, payload.templateId);
  }
}
