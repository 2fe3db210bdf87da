import { inject, injectable } from 'inversify';
import type { Call } from '../../../src/kernel/call.ts';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { idFrom, newId } from '../../../src/kernel/ids.ts';
import { type Reader, Store } from '../../../src/ports/storage.ts';
import { notification } from '../../notification/contract.ts';
import type { Notification } from '../../notification/contract.ts';
import { CompiledTemplate, type PublishedTemplate, type TemplateContent, templatePublished } from '../contract.ts';
import type { Tables, TemplateRow, TemplateVersionRow } from '../tables.ts';

/** What lists show: without the texts, which may be large. */
export interface TemplateSummary {
  readonly templateId: string;
  readonly name: string;
  /** Rises by one with each change of name or draft; the ETag. */
  readonly revision: number;
  /** The version that is sent; null before the first publishing. */
  readonly publishedVersion: number | null;
  readonly createdAt: EpochMs;
  readonly updatedAt: EpochMs;
}

export interface Template extends TemplateSummary {
  /** What the next publishing makes a version of. */
  readonly draft: TemplateContent;
}

export interface TemplateVersionSummary {
  readonly version: number;
  readonly name: string;
  readonly createdAt: EpochMs;
  readonly createdBy: string;
}

export interface TemplateVersion extends TemplateVersionSummary {
  readonly content: TemplateContent;
}

export type TemplateOrder = 'newest' | 'name';

/** What the whole workspace may hold; far above need, below harm. */
const MOST_TEMPLATES = 2_000;
const MOST_VERSIONS = 1_000;

const SUMMARY = ['id', 'name', 'revision', 'published_version', 'created_at', 'updated_at'] as const;

/** Mails as their authors write them, and the versions that are sent. A version never changes. */
@injectable()
export class Templates {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;
  readonly #notification: Notification;

  constructor(@inject(Store) store: Store<Tables>, @inject(Clock) clock: Clock, @inject(notification.id) mailer: Notification) {
    this.#store = store;
    this.#clock = clock;
    this.#notification = mailer;
  }

  /** A repeat with the call's idempotency key finds the template that the first one made. */
  async create(name: string, draft: TemplateContent, call: Call): Promise<Template> {
    const workspace = call.requireWorkspace();
    const key = call.idempotencyKey;
    const now = this.#clock.now();
    const row: TemplateRow = {
      id: key === undefined ? newId() : idFrom('template', workspace, call.actor.kind, call.actor.id, key),
      workspace_id: workspace,
      name,
      draft_json: JSON.stringify(draft),
      revision: 1,
      published_version: null,
      created_at: now,
      updated_at: now,
    };
    return this.#store.transaction(async (tx) => {
      const { count } = await tx.db.selectFrom('templates').select((eb) => eb.fn.countAll<number>().as('count')).where('workspace_id', '=', workspace).executeTakeFirstOrThrow();
      if (count >= MOST_TEMPLATES) throw new Fault('conflict', `A workspace has at most ${MOST_TEMPLATES} templates.`, { reason: 'too_many_templates' });
      await tx.db.insertInto('templates').values(row).onConflict((c) => c.column('id').doNothing()).execute();
      return toTemplate(await find(tx, workspace, row.id));
    });
  }

  /**
   * Changes what is given. With `ifRevision`, only while the template stands at that revision.
   * Faults: `not_found`/`template_not_found`, `conflict`/`version_changed`.
   */
  async update(templateId: string, change: { name?: string | undefined; draft?: TemplateContent | undefined; ifRevision?: number | undefined }, call: Call): Promise<Template> {
    const workspace = call.requireWorkspace();
    return this.#store.transaction(async (tx) => {
      const row = await find(tx, workspace, templateId);
      if (change.ifRevision !== undefined && change.ifRevision !== row.revision) throw revisionChanged(row.revision);
      const next: TemplateRow = {
        ...row,
        name: change.name ?? row.name,
        draft_json: change.draft === undefined ? row.draft_json : JSON.stringify(change.draft),
        revision: row.revision + 1,
        updated_at: this.#clock.now(),
      };
      await tx.db.updateTable('templates').set(next).where('workspace_id', '=', workspace).where('id', '=', templateId).execute();
      return toTemplate(next);
    });
  }

  async get(templateId: string, call: Call): Promise<Template> {
    return toTemplate(await find(this.#store, call.requireWorkspace(), templateId));
  }

  async list(page: { after?: TemplateCursor | undefined; limit: number; order: TemplateOrder }, call: Call): Promise<TemplateSummary[]> {
    const { after, order, limit } = page;
    let query = this.#store.db.selectFrom('templates').select(SUMMARY).where('workspace_id', '=', call.requireWorkspace()).limit(limit);
    if (order === 'newest') {
      query = query.orderBy('id', 'desc');
      if (after !== undefined) query = query.where('id', '<', after.id);
    } else {
      query = query.orderBy('name').orderBy('id');
      if (after !== undefined) query = query.where((eb) => eb(eb.refTuple('name', 'id'), '>', eb.tuple(after.name, after.id)));
    }
    return (await query.execute()).map(toSummary);
  }

  /**
   * Compiles the draft and makes it the version that is sent from now on. Publishing a draft that is published already
   * answers the version that there is. Faults: `invalid`/`template_invalid` (details.problems), `conflict`/`version_changed`.
   */
  async publish(templateId: string, ifRevision: number | undefined, call: Call): Promise<{ template: Template; version: TemplateVersion }> {
    const workspace = call.requireWorkspace();
    const before = await find(this.#store, workspace, templateId);
    if (ifRevision !== undefined && ifRevision !== before.revision) throw revisionChanged(before.revision);
    const compiled = await this.#notification.compileTemplate({ content: JSON.parse(before.draft_json) as TemplateContent }, call);
    return this.#store.transaction(async (tx) => {
      const row = await find(tx, workspace, templateId);
      // Somebody saved while this one was being compiled: what was compiled is not what the author sees now.
      if (row.revision !== before.revision) throw revisionChanged(row.revision);
      const last = await lastVersion(tx, workspace, templateId);
      if (last !== undefined && last.version === row.published_version && last.content_json === row.draft_json && last.name === row.name) {
        return { template: toTemplate(row), version: toVersion(last) };
      }
      const version = (last?.version ?? 0) + 1;
      if (version > MOST_VERSIONS) throw new Fault('conflict', `A template has at most ${MOST_VERSIONS} versions. Make a new template.`, { reason: 'too_many_versions' });
      const made: TemplateVersionRow = {
        workspace_id: workspace,
        template_id: templateId,
        version,
        name: row.name,
        content_json: row.draft_json,
        compiled_json: JSON.stringify(compiled),
        created_at: this.#clock.now(),
        created_by: call.actor.id,
      };
      await tx.db.insertInto('template_versions').values(made).execute();
      await tx.db.updateTable('templates').set({ published_version: version }).where('workspace_id', '=', workspace).where('id', '=', templateId).execute();
      await tx.publish(templatePublished, { templateId, version }, { workspace, trace: call.trace });
      return { template: toTemplate({ ...row, published_version: version }), version: toVersion(made) };
    });
  }

  /** Newest first. */
  async versions(templateId: string, page: { before?: number | undefined; limit: number }, call: Call): Promise<TemplateVersionSummary[]> {
    const workspace = call.requireWorkspace();
    await find(this.#store, workspace, templateId);
    let query = this.#store.db.selectFrom('template_versions').select(['version', 'name', 'created_at', 'created_by']).where('workspace_id', '=', workspace).where('template_id', '=', templateId).orderBy('version', 'desc').limit(page.limit);
    if (page.before !== undefined) query = query.where('version', '<', page.before);
    return (await query.execute()).map(toVersionSummary);
  }

  async version(templateId: string, version: number, call: Call): Promise<TemplateVersion> {
    return toVersion(await findVersion(this.#store, call.requireWorkspace(), templateId, version));
  }

  /** What is sent: the contract's `getTemplate`. */
  async published(templateId: string, version: number | null, call: Call): Promise<PublishedTemplate> {
    const workspace = call.requireWorkspace();
    const template = await find(this.#store, workspace, templateId);
    const wanted = version ?? template.published_version;
    if (wanted === null) throw notPublished();
    const row = await findVersion(this.#store, workspace, templateId, wanted);
    return { templateId, name: row.name, version: row.version, compiled: CompiledTemplate.parse(JSON.parse(row.compiled_json)) };
  }

  /** The content to preview: the draft, or that of a version. */
  async content(templateId: string, version: number | null, call: Call): Promise<TemplateContent> {
    const workspace = call.requireWorkspace();
    if (version !== null) return toVersion(await findVersion(this.#store, workspace, templateId, version)).content;
    return toTemplate(await find(this.#store, workspace, templateId)).draft;
  }
}

/** Where a list goes on. */
export interface TemplateCursor {
  readonly name: string;
  readonly id: string;
}

async function find(reader: Reader<Tables>, workspace: string, templateId: string): Promise<TemplateRow> {
  const row = await reader.db.selectFrom('templates').selectAll().where('workspace_id', '=', workspace).where('id', '=', templateId).executeTakeFirst();
  if (row === undefined) throw new Fault('not_found', 'There is no such template in this workspace.', { reason: 'template_not_found' });
  return row;
}

async function findVersion(reader: Reader<Tables>, workspace: string, templateId: string, version: number): Promise<TemplateVersionRow> {
  const row = await reader.db
    .selectFrom('template_versions')
    .selectAll()
    .where('workspace_id', '=', workspace)
    .where('template_id', '=', templateId)
    .where('version', '=', version)
    .executeTakeFirst();
  if (row === undefined) throw notPublished();
  return row;
}

function lastVersion(reader: Reader<Tables>, workspace: string, templateId: string): Promise<TemplateVersionRow | undefined> {
  return reader.db
    .selectFrom('template_versions')
    .selectAll()
    .where('workspace_id', '=', workspace)
    .where('template_id', '=', templateId)
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst();
}

function notPublished(): Fault {
  return new Fault('not_found', 'The template has no such published version.', { reason: 'template_not_published' });
}

function revisionChanged(revision: number): Fault {
  return new Fault('conflict', 'The template has changed since. Read it again, then repeat the change on what is there now.', { reason: 'version_changed', details: { revision } });
}

type SummaryRow = Omit<TemplateRow, 'workspace_id' | 'draft_json'>;

function toSummary(row: SummaryRow): TemplateSummary {
  return { templateId: row.id, name: row.name, revision: row.revision, publishedVersion: row.published_version, createdAt: row.created_at, updatedAt: row.updated_at };
}

function toTemplate(row: TemplateRow): Template {
  return { ...toSummary(row), draft: JSON.parse(row.draft_json) as TemplateContent };
}

function toVersionSummary(row: Pick<TemplateVersionRow, 'version' | 'name' | 'created_at' | 'created_by'>): TemplateVersionSummary {
  return { version: row.version, name: row.name, createdAt: row.created_at, createdBy: row.created_by };
}

function toVersion(row: TemplateVersionRow): TemplateVersion {
  return { ...toVersionSummary(row), content: JSON.parse(row.content_json) as TemplateContent };
}
