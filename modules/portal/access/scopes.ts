import { z } from 'zod';

/**
 * What an API key may do; none includes another, so that a key holds exactly what it was given.
 * - `ingest`: post events (the write key of Segment's SDKs).
 * - `read`: read everything of the workspace but keys and the audit log; in the queues, its own messages.
 * - `write`: change people, segments, templates, automations and suppressions, and send tests.
 * - `admin`: API keys, the audit log, the workspace itself; pause, requeue and purge its messages in the queues.
 */
export const Scope = z.enum(['ingest', 'read', 'write', 'admin']);
export type Scope = z.infer<typeof Scope>;

/** Owners do everything. Other roles come with invitations. */
export const Role = z.enum(['owner']);
export type Role = z.infer<typeof Role>;

const SCOPES_BY_ROLE: Readonly<Record<Role, readonly Scope[]>> = { owner: Scope.options };

/** A role that this build does not know may do nothing. */
export function scopesOfRole(role: string): readonly Scope[] {
  const known = Role.safeParse(role);
  return known.success ? SCOPES_BY_ROLE[known.data] : [];
}
