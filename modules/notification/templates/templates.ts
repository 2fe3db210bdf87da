import { inject, injectable } from 'inversify';
import { systemCall } from '../../../src/kernel/call.ts';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { portal, type Portal, type PublishedTemplate } from '../../portal/contract.ts';
import { TemplateUses } from './template-uses.ts';

const CALL_MS = 5_000;
/** A hint drops a template when a new version is published; this is for hints that are lost. */
const TTL_MS = 60_000;
const MOST_TEMPLATES = 500;
/** Of all templates together; one alone may be of some 3 million. */
const MOST_CHARS = 32_000_000;

interface Entry {
  readonly template: Promise<PublishedTemplate>;
  readonly until: EpochMs;
  /** 0 while it is being fetched. */
  chars: number;
}

/** Published templates, kept while they are used. */
@injectable()
export class Templates {
  readonly #portal: Portal;
  readonly #clock: Clock;
  readonly #uses: Pick<TemplateUses, 'note'>;
  /** In the order of their last use. */
  readonly #kept = new Map<string, Entry>();
  /** The newest version heard of, of templates of which that was told last. */
  readonly #newest = new Map<string, number>();
  #chars = 0;

  constructor(@inject(portal.id) portalContract: Portal, @inject(Clock) clock: Clock, @inject(TemplateUses) uses: Pick<TemplateUses, 'note'>) {
    this.#portal = portalContract;
    this.#clock = clock;
    this.#uses = uses;
  }

  /** The version that is published now. Faults as `portal.getTemplate`. */
  published(workspace: string, templateId: string): Promise<PublishedTemplate> {
    const key = keyOf(workspace, templateId);
    const now = this.#clock.now();
    const kept = this.#kept.get(key);
    if (kept !== undefined && now < kept.until) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
      return kept.template;
    }
    const template = this.warm(workspace, templateId, now + CALL_MS);
    template.then(() => this.#uses.note(workspace, templateId, now), () => {});
    return template;
  }

  /** Fetches it by `until`, for mails that may come. Faults as `portal.getTemplate`. */
  warm(workspace: string, templateId: string, until: EpochMs): Promise<PublishedTemplate> {
    const key = keyOf(workspace, templateId);
    this.#forget(key);
    const template = this.#fetch(workspace, templateId, until);
    const entry: Entry = { template, until: this.#clock.now() + TTL_MS, chars: 0 };
    this.#kept.set(key, entry);
    this.#makeRoom();
    template.then(
      ({ compiled }) => this.#weigh(key, entry, charsOf(compiled)),
      () => this.#kept.get(key) === entry && this.#forget(key),
    );
    return template;
  }

  /** There is a version `newest`. A fetch that began before this is not kept: its entry is gone. */
  drop(workspace: string, templateId: string, newest: number): void {
    const key = keyOf(workspace, templateId);
    this.#forget(key);
    const heard = Math.max(newest, this.#newest.get(key) ?? 0);
    this.#newest.delete(key);
    this.#newest.set(key, heard);
    if (this.#newest.size > MOST_TEMPLATES) this.#newest.delete(this.#newest.keys().next().value!);
  }

  /** New versions may have been missed. */
  dropAll(): void {
    this.#kept.clear();
    this.#chars = 0;
  }

  /** A cache in between may answer with the version before the one that was just published; versions themselves never change. */
  async #fetch(workspace: string, templateId: string, until: EpochMs): Promise<PublishedTemplate> {
    const ask = (version: number | null) => this.#portal.getTemplate({ templateId, version }, systemCall('notification', workspace, until));
    const template = await ask(null);
    const newest = this.#newest.get(keyOf(workspace, templateId)) ?? 0;
    return template.version >= newest ? template : ask(newest);
  }

  /** What has been dropped or replaced while it was fetched is not counted. */
  #weigh(key: string, entry: Entry, chars: number): void {
    if (this.#kept.get(key) !== entry) return;
    entry.chars = chars;
    this.#chars += chars;
    this.#makeRoom();
  }

  #makeRoom(): void {
    while (this.#kept.size > MOST_TEMPLATES || this.#chars > MOST_CHARS) this.#forget(this.#kept.keys().next().value!);
  }

  #forget(key: string): void {
    this.#chars -= this.#kept.get(key)?.chars ?? 0;
    this.#kept.delete(key);
  }
}

/** What a template takes of memory, about. */
export function charsOf({ subject, html, text }: PublishedTemplate['compiled']): number {
  return subject.length + html.length + text.length;
}

function keyOf(workspace: string, templateId: string): string {
  return `${workspace} ${templateId}`;
}
