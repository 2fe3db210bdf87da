import { inject, injectable } from 'inversify';
import { systemCall } from '../../../src/kernel/call.ts';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { portal, type Portal, type PublishedTemplate } from '../../portal/contract.ts';

const CALL_MS = 5_000;
/** An event drops a template when a new version is published; this is for events that are late. */
const TTL_MS = 60_000;
const MOST_TEMPLATES = 500;

interface Entry {
  readonly template: Promise<PublishedTemplate>;
  readonly until: EpochMs;
}

/** Published templates, kept while they are used. */
@injectable()
export class Templates {
  readonly #portal: Portal;
  readonly #clock: Clock;
  /** In the order of their last use. */
  readonly #kept = new Map<string, Entry>();

  constructor(@inject(portal.id) portalContract: Portal, @inject(Clock) clock: Clock) {
    this.#portal = portalContract;
    this.#clock = clock;
  }

  /** The version that is published now. Faults as `portal.getTemplate`. */
  published(workspace: string, templateId: string): Promise<PublishedTemplate> {
    const key = keyOf(workspace, templateId);
    const now = this.#clock.now();
    const kept = this.#kept.get(key);
    const entry = kept !== undefined && now < kept.until ? kept : { template: this.#fetch(workspace, templateId, key), until: now + TTL_MS };
    this.#kept.delete(key);
    this.#kept.set(key, entry);
    if (this.#kept.size > MOST_TEMPLATES) this.#kept.delete(this.#kept.keys().next().value!);
    return entry.template;
  }

  /** A fetch that began before this is not kept: its entry is gone. */
  drop(workspace: string, templateId: string): void {
    this.#kept.delete(keyOf(workspace, templateId));
  }

  #fetch(workspace: string, templateId: string, key: string): Promise<PublishedTemplate> {
    const template = this.#portal.getTemplate({ templateId, version: null }, systemCall('notification', workspace, this.#clock.now() + CALL_MS));
    template.catch(() => {
      if (this.#kept.get(key)?.template === template) this.#kept.delete(key);
    });
    return template;
  }
}

function keyOf(workspace: string, templateId: string): string {
  return `${workspace} ${templateId}`;
}
