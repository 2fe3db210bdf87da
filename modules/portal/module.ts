import { defineModule } from '../../src/kernel/module.ts';
import { deliveryUpdated, notification, unsubscribed } from '../notification/contract.ts';
import { trigger } from '../trigger/contract.ts';
import { ApiKeys } from './access/api-keys.ts';
import { DemoKey } from './access/demo-key.ts';
import { Logins } from './access/logins.ts';
import { Passwords } from './access/passwords.ts';
import { Sessions } from './access/sessions.ts';
import { Setup } from './access/setup.ts';
import { Users } from './access/users.ts';
import { Workspaces } from './access/workspaces.ts';
import { Audit } from './audit/audit.ts';
import { PortalContract } from './contract-implementation.ts';
import { eventRecorded, personChanged, portal, templatePublished } from './contract.ts';
import { Timeline } from './events/timeline.ts';
import { ExportCommand } from './exports/export-command.ts';
import { ExportHandler } from './exports/export-handler.ts';
import { Exports, exportRequested } from './exports/exports.ts';
import { Expiry } from './files/expiry.ts';
import { Api } from './http/api.ts';
import { Idempotency } from './http/idempotency.ts';
import { KoaApp } from './http/koa-app.ts';
import { Principals } from './http/principal.ts';
import { ApiKeyRoutes } from './http/routes/api-key-routes.ts';
import { AuditRoutes } from './http/routes/audit-routes.ts';
import { AutomationRoutes } from './http/routes/automation-routes.ts';
import { DeliveryRoutes } from './http/routes/delivery-routes.ts';
import { ExportRoutes } from './http/routes/export-routes.ts';
import { ImportRoutes } from './http/routes/import-routes.ts';
import { PeopleRoutes } from './http/routes/people-routes.ts';
import { QueueRoutes } from './http/routes/queue-routes.ts';
import { Routes } from './http/routes/routes.ts';
import { SegmentRoutes } from './http/routes/segment-routes.ts';
import { SessionRoutes } from './http/routes/session-routes.ts';
import { SystemRoutes } from './http/routes/system-routes.ts';
import { TemplateRoutes } from './http/routes/template-routes.ts';
import { WorkspaceRoutes } from './http/routes/workspace-routes.ts';
import { PortalSurface } from './http/surface.ts';
import { Writes } from './http/writes.ts';
import { ImportHandler } from './imports/import-handler.ts';
import { importRequested, Imports } from './imports/imports.ts';
import { IngestBatchHandler } from './ingest/batch-handler.ts';
import { Forgetting } from './ingest/forgetting.ts';
import { IngestProblems } from './ingest/ingest-problems.ts';
import { IngestSurface } from './ingest/ingest-surface.ts';
import { ingestBatch } from './ingest/job.ts';
import { Live } from './live/live.ts';
import { portalMigrations } from './migrations.ts';
import { FilePages } from './pages/file-pages.ts';
import { PublicPages } from './pages/public-pages.ts';
import { StaffPages } from './pages/staff-pages.ts';
import { Visitors } from './pages/visitors.ts';
import { Visits } from './pages/visits.ts';
import { erasePerson, ErasureHandler } from './people/erasure.ts';
import { IdentityHashes } from './people/identity-hashes.ts';
import { People } from './people/people.ts';
import { Recipients } from './people/recipients.ts';
import { UnsubscribedHandler } from './people/unsubscribed-handler.ts';
import { LiveSegments } from './segments/live-segments.ts';
import { Segments } from './segments/segments.ts';
import { settleSegment, SettleSegmentHandler } from './segments/settle-handler.ts';
import { PortalSettings } from './settings.ts';
import { Templates } from './templates/templates.ts';

const access = [ApiKeys, DemoKey, Logins, Passwords, Sessions, Setup, Users, Workspaces, Audit];
const people = [IdentityHashes, LiveSegments, People, Recipients, Segments, Timeline, IngestProblems, IngestSurface];
const files = [Exports, ExportCommand, Imports];
const routes = [ApiKeyRoutes, AuditRoutes, AutomationRoutes, DeliveryRoutes, ExportRoutes, ImportRoutes, PeopleRoutes, QueueRoutes, SegmentRoutes, SessionRoutes, SystemRoutes, TemplateRoutes, WorkspaceRoutes, Routes];
const web = [Api, Idempotency, KoaApp, Principals, Writes, PublicPages, StaffPages, FilePages, Visitors, Visits];

/** System of record and face: people, events, templates, access, and everything that is shown over HTTP. */
export const portalModule = defineModule({
  name: 'portal',
  contract: portal,
  implementation: PortalContract,
  calls: [notification, trigger],
  migrations: portalMigrations,
  subscriptions: [
    { message: ingestBatch, concurrency: 32, transactional: IngestBatchHandler },
    { message: erasePerson, concurrency: 1, transactional: ErasureHandler },
    { message: settleSegment, concurrency: 1, transactional: SettleSegmentHandler },
    { message: unsubscribed, concurrency: 8, transactional: UnsubscribedHandler },
    { message: exportRequested, concurrency: 1, effect: ExportHandler },
    // Few, so that a long one does not keep the others.
    { message: importRequested, concurrency: 4, effect: ImportHandler, resumes: true },
  ],
  hears: [eventRecorded, personChanged, deliveryUpdated],
  retention: [
    { name: 'events', table: 'events', key: ['id'], time: 'received_at', oldestFirst: true },
    { name: 'audit', table: 'audit_entries', key: ['id'], time: 'time', oldestFirst: true },
  ],
  publishes: [exportRequested, importRequested, ingestBatch, erasePerson, eventRecorded, personChanged, settleSegment, templatePublished],
  settings: PortalSettings,
  parts: [...access, ...people, ...files, Templates, Live, ...routes, ...web],
  lifecycles: [Forgetting, Expiry, Live],
  usesBlobs: true,
  replicable: true,
  http: PortalSurface,
  greeting: Setup,
  operator: { 'demo-key': DemoKey, export: ExportCommand },
});
