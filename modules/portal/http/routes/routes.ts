import { inject, injectable } from 'inversify';
import type { AnyRoute } from '../route.ts';
import { ApiKeyRoutes } from './api-key-routes.ts';
import { AuditRoutes } from './audit-routes.ts';
import { AutomationRoutes } from './automation-routes.ts';
import { DeliveryRoutes } from './delivery-routes.ts';
import { ExportRoutes } from './export-routes.ts';
import { ImportRoutes } from './import-routes.ts';
import { PeopleRoutes } from './people-routes.ts';
import { QueueRoutes } from './queue-routes.ts';
import { SegmentRoutes } from './segment-routes.ts';
import { SessionRoutes } from './session-routes.ts';
import { SystemRoutes } from './system-routes.ts';
import { TemplateRoutes } from './template-routes.ts';
import { WorkspaceRoutes } from './workspace-routes.ts';

/** Every operation of the API, in the order of its document. */
@injectable()
export class Routes {
  readonly all: readonly AnyRoute[];

  constructor(
    @inject(SessionRoutes) session: SessionRoutes,
    @inject(WorkspaceRoutes) workspaces: WorkspaceRoutes,
    @inject(PeopleRoutes) people: PeopleRoutes,
    @inject(SegmentRoutes) segments: SegmentRoutes,
    @inject(TemplateRoutes) templates: TemplateRoutes,
    @inject(AutomationRoutes) automations: AutomationRoutes,
    @inject(DeliveryRoutes) deliveries: DeliveryRoutes,
    @inject(ExportRoutes) exports: ExportRoutes,
    @inject(ImportRoutes) imports: ImportRoutes,
    @inject(ApiKeyRoutes) apiKeys: ApiKeyRoutes,
    @inject(AuditRoutes) audit: AuditRoutes,
    @inject(QueueRoutes) queues: QueueRoutes,
    @inject(SystemRoutes) system: SystemRoutes,
  ) {
    this.all = [session, workspaces, people, segments, templates, automations, deliveries, exports, imports, apiKeys, audit, queues, system].flatMap((group) => group.routes);
  }
}
