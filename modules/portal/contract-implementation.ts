import { inject, injectable } from 'inversify';
import type { Call } from '../../src/kernel/call.ts';
import type { Person, Portal, PublishedTemplate } from './contract.ts';
import { Recipients } from './people/recipients.ts';
import { Templates } from './templates/templates.ts';

/** What other modules may ask of portal: passed on to the part that knows. */
@injectable()
export class PortalContract implements Portal {
  readonly #recipients: Recipients;
  readonly #templates: Templates;

  constructor(@inject(Recipients) recipients: Recipients, @inject(Templates) templates: Templates) {
    this.#recipients = recipients;
    this.#templates = templates;
  }

  getRecipients(request: { readonly personIds: string[] }, call: Call): Promise<{ people: Person[]; merged: Record<string, string> }> {
    return this.#recipients.getRecipients(request, call);
  }

  getTemplate(request: { readonly templateId: string; readonly version: number | null }, call: Call): Promise<PublishedTemplate> {
    return this.#templates.published(request.templateId, request.version, call);
  }
}
