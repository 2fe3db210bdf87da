import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { Call } from '../../../src/kernel/call.ts';
import { Fault, type Json } from '../../../src/kernel/fault.ts';
import type { OperatorCommand } from '../../../src/kernel/module.ts';
import { Store } from '../../../src/ports/storage.ts';
import { Audit } from '../audit/audit.ts';
import type { Tables } from '../tables.ts';
import { blobKey, type Export, Exports, Format, What } from './exports.ts';

const Begin = z.strictObject({ workspace: z.string().min(1).optional(), what: What, format: Format, segment: z.string().min(1).optional() });
const Look = z.strictObject({ workspace: z.string().min(1), exportId: z.string().min(1) });

/** As many as one line of words can name. */
const NAMED = 20;

/**
 * Begins an export for whoever sits at this machine, or says how one stands. Answers the export, its workspace, and in `key` where its
 * file lies. Faults: `invalid`/`workspace_needed` with those that there are, `not_found`.
 */
@injectable()
export class ExportCommand implements OperatorCommand {
  readonly #store: Store<Tables>;
  readonly #exports: Exports;
  readonly #audit: Audit;

  constructor(@inject(Store) store: Store<Tables>, @inject(Exports) exports: Exports, @inject(Audit) audit: Audit) {
    this.#store = store;
    this.#exports = exports;
    this.#audit = audit;
  }

  async run(request: Json, call: Call): Promise<Json> {
    const look = Look.safeParse(request);
    if (look.success) return this.#answer(look.data.workspace, await this.#exports.get(look.data.exportId, within(look.data.workspace, call)));
    const begin = Begin.safeParse(request);
    if (!begin.success) throw new Fault('invalid', 'Send { "what", "format", "segment", "workspace" }, or { "workspace", "exportId" }.');
    const { workspace: wanted, ...of } = begin.data;
    const workspace = await this.#workspace(wanted);
    const begun = await this.#exports.begin(of, within(workspace, call));
    await this.#audit.record({ workspace, actor: call.actor, action: 'createExport', targetId: begun.exportId, address: 'local', callId: call.id }, 'done');
    return this.#answer(workspace, begun);
  }

  #answer(workspace: string, found: Export): Json {
    return { ...found, workspace, key: blobKey(workspace, found.exportId) };
  }

  async #workspace(wanted: string | undefined): Promise<string> {
    const all = await this.#store.db.selectFrom('workspaces').select(['id', 'name']).orderBy('id').execute();
    const found = all.find(({ id }) => id === wanted) ?? (wanted === undefined && all.length === 1 ? all[0] : undefined);
    if (found !== undefined) return found.id;
    const named = all.slice(0, NAMED).map(({ id, name }) => `${id} (${name})`);
    throw new Fault('invalid', `${wanted === undefined ? 'Say which workspace' : 'There is no such workspace'}. There are: ${named.join(', ')}${all.length > NAMED ? ', …' : ''}.`, { reason: 'workspace_needed' });
  }
}

function within(workspace: string, { id, actor, deadline, trace }: Call): Call {
  return new Call({ id, workspace, actor, deadline, trace });
}
