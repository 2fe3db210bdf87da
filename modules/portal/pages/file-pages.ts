import { inject, injectable } from 'inversify';
import { Fault } from '../../../src/kernel/fault.ts';
import { Exports, Format, What } from '../exports/exports.ts';
import { UPLOAD_TIMEOUT_MS } from '../http/upload.ts';
import { Imports } from '../imports/imports.ts';
import { ImportFormat } from '../imports/people-file.ts';
import { Segments } from '../segments/segments.ts';
import { goTo, type PageAnswer, type PageRoute } from './page.ts';
import { exportsView, importsView } from './views.ts';
import { type Visit, Visits } from './visits.ts';

/** Where people fetch and send files. */
@injectable()
export class FilePages {
  readonly routes: readonly PageRoute[];
  readonly #visits: Visits;
  readonly #exports: Exports;
  readonly #imports: Imports;
  readonly #segments: Segments;

  constructor(@inject(Visits) visits: Visits, @inject(Exports) exports: Exports, @inject(Imports) imports: Imports, @inject(Segments) segments: Segments) {
    this.#visits = visits;
    this.#exports = exports;
    this.#imports = imports;
    this.#segments = segments;
    this.routes = [
      { method: 'GET', path: '/exports', handle: visits.by('read', (visit) => this.#showExports(visit)) },
      { method: 'POST', path: '/exports', handle: visits.by('read', (visit) => this.#makeExport(visit)) },
      { method: 'POST', path: '/exports/:exportId/delete', handle: visits.by('write', (visit) => this.#deleteExport(visit)) },
      { method: 'GET', path: '/imports', handle: visits.by('read', (visit) => this.#showImports(visit)) },
      { method: 'POST', path: '/imports', timeoutMs: UPLOAD_TIMEOUT_MS, handle: visits.by('write', (visit) => this.#makeImport(visit)) },
      { method: 'POST', path: '/imports/:importId/delete', handle: visits.by('write', (visit) => this.#deleteImport(visit)) },
    ];
  }

  async #showExports(visit: Visit): Promise<PageAnswer> {
    const call = visit.request.call(visit.principal);
    const [found, segments] = [await this.#exports.list(call), await this.#segments.list(call)];
    return this.#visits.show(visit, 'Exports', exportsView(found, segments, this.#visits.token(visit), visit.principal.workspace));
  }

  async #makeExport(visit: Visit): Promise<PageAnswer> {
    const form = await this.#visits.form(visit);
    const [what, format] = [What.safeParse(form.get('what')), Format.safeParse(form.get('format'))];
    const segment = form.get('segment') || null;
    if (!what.success || !format.success) throw new Fault('invalid', 'Say what to export, and as what. Go back and choose both.');
    const call = visit.request.call(visit.principal);
    await this.#visits.change(visit, 'createExport', null, async () => (await this.#exports.begin({ what: what.data, format: format.data, segment }, call)).exportId);
    return backTo('exports', visit);
  }

  async #deleteExport(visit: Visit): Promise<PageAnswer> {
    await this.#visits.form(visit);
    const { exportId } = visit.request.params;
    await this.#visits.change(visit, 'deleteExport', exportId!, async () => {
      await this.#exports.remove(exportId!, visit.request.call(visit.principal));
      return exportId!;
    });
    return backTo('exports', visit);
  }

  async #showImports(visit: Visit): Promise<PageAnswer> {
    const found = await this.#imports.list(visit.request.call(visit.principal));
    return this.#visits.show(visit, 'Imports', importsView(found, this.#imports.maxBytes, this.#visits.token(visit), visit.principal.workspace));
  }

  async #makeImport(visit: Visit): Promise<PageAnswer> {
    const { fields, file } = await visit.request.upload();
    this.#visits.requireOwn(visit, fields);
    const format = ImportFormat.safeParse(fields.get('format'));
    if (!format.success) throw new Fault('invalid', 'Say what kind of file it is. Go back and choose.');
    const call = visit.request.call(visit.principal);
    const arrived = await this.#imports.receive(format.data, file, undefined, call);
    const begin = async () => {
      if (arrived.bytes === 0) throw new Fault('invalid', 'There was nothing in the file. Go back and choose one.', { reason: 'file_empty' });
      return (await this.#imports.begin(arrived, call)).importId;
    };
    await this.#visits.change(visit, 'createImport', null, begin).catch(async (thrown: unknown) => {
      await this.#imports.discard(arrived, call);
      throw thrown;
    });
    return backTo('imports', visit);
  }

  async #deleteImport(visit: Visit): Promise<PageAnswer> {
    await this.#visits.form(visit);
    const { importId } = visit.request.params;
    await this.#visits.change(visit, 'deleteImport', importId!, async () => (await this.#imports.remove(importId!, visit.request.call(visit.principal))).importId);
    return backTo('imports', visit);
  }
}

function backTo(page: string, { principal }: Visit): PageAnswer {
  return goTo(`/${page}?workspace=${encodeURIComponent(principal.workspace)}`);
}
