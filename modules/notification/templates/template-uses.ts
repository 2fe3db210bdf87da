import { inject, injectable } from 'inversify';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import { Log } from '../../../src/kernel/telemetry.ts';
import { Store } from '../../../src/ports/storage.ts';
import type { NotificationTables } from '../tables.ts';
import { forgetUse, newestUses, noteUse } from './template-use-statements.ts';

export interface TemplateUse {
  readonly workspace: string;
  readonly templateId: string;
}

/** Which templates are in use, over restarts: one small write for each template that mails are made of, once a minute. */
@injectable()
export class TemplateUses {
  readonly #store: Store<NotificationTables>;
  readonly #log: Log;

  constructor(@inject(Store) store: Store<NotificationTables>, @inject(Log) log: Log) {
    this.#store = store;
    this.#log = log;
  }

  /** Never rejects: no mail waits or fails for it. */
  async note(workspace: string, templateId: string, usedAt: EpochMs): Promise<void> {
    try {
      await this.#store.transaction((tx) => tx.run(noteUse, { workspace, template_id: templateId, used_at: usedAt }));
    } catch (err) {
      this.#log.warn({ workspace, templateId, err }, 'the use of a template could not be noted; the next start may not fetch it beforehand');
    }
  }

  /** At most so many, used since then, the newest first. */
  async newest(since: EpochMs, most: number): Promise<TemplateUse[]> {
    const rows = await this.#store.run(newestUses, { since, most });
    return rows.map(({ workspace, template_id: templateId }) => ({ workspace, templateId }));
  }

  /** There is no such template any more. */
  async forget({ workspace, templateId }: TemplateUse): Promise<void> {
    await this.#store.transaction((tx) => tx.run(forgetUse, { workspace, template_id: templateId }));
  }
}
