import type { Migration } from '../../src/ports/storage.ts';
import { accessMigration, lastWritesMigration, loginFailuresMigration, loginNetworksMigration, operatorsMigration } from './access/migration.ts';
import { auditFiltersMigration, auditMigration } from './audit/migration.ts';
import { eventsByWorkspaceMigration, eventsMigration } from './events/migration.ts';
import { exportSegmentsMigration, exportsMigration } from './exports/migration.ts';
import { idempotencyMigration } from './http/migration.ts';
import { importsMigration } from './imports/migration.ts';
import { ingestMigration } from './ingest/migration.ts';
import { peopleByStayingMigration, peopleMigration } from './people/migration.ts';
import { segmentsMigration } from './segments/migration.ts';
import { templatesMigration } from './templates/migration.ts';

/** Portal's schema, in the order of its making. */
export const portalMigrations: readonly Migration[] = [
  accessMigration,
  auditMigration,
  templatesMigration,
  idempotencyMigration,
  peopleMigration,
  eventsMigration,
  ingestMigration,
  eventsByWorkspaceMigration,
  auditFiltersMigration,
  peopleByStayingMigration,
  loginNetworksMigration,
  operatorsMigration,
  loginFailuresMigration,
  exportsMigration,
  segmentsMigration,
  importsMigration,
  lastWritesMigration,
  exportSegmentsMigration,
];
