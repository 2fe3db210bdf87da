/*
 * Every table of portal's database. Times are epoch milliseconds, `*_json` columns hold JSON text, yes and no are 1 and
 * 0. Each query names the workspace in its WHERE clause, even where the id alone would find the row.
 */

export interface Tables {
  workspaces: WorkspaceRow;
  users: UserRow;
  memberships: MembershipRow;
  sessions: SessionRow;
  login_networks: LoginNetworkRow;
  login_failures: LoginFailureRow;
  setup_links: SetupLinkRow;
  api_keys: ApiKeyRow;
  audit_entries: AuditRow;
  idempotency_keys: IdempotencyRow;
  templates: TemplateRow;
  template_versions: TemplateVersionRow;
  people: PersonRow;
  identities: IdentityRow;
  erased_identities: ErasedIdentityRow;
  groups: GroupRow;
  events: EventRow;
  seen_messages: SeenMessageRow;
  ingest_problems: IngestProblemRow;
  exports: ExportRow;
  segments: SegmentRow;
  segment_members: SegmentMemberRow;
  imports: ImportRow;
  import_refusals: ImportRefusalRow;
}

export interface WorkspaceRow {
  id: string;
  name: string;
  created_at: number;
}

export interface UserRow {
  id: string;
  /** As typed; shown. */
  email: string;
  /** In lower case; unique. */
  email_key: string;
  password_hash: string;
  created_at: number;
  /** Tends the installation as a whole: hosts and queues, whosever messages they hold. */
  operator: number;
}

export interface MembershipRow {
  workspace_id: string;
  user_id: string;
  role: string;
  created_at: number;
}

export interface SessionRow {
  /** SHA-256 of the cookie's secret. */
  secret_hash: string;
  id: string;
  user_id: string;
  created_at: number;
  last_seen_at: number;
  /** Position of its last change; null before the first, and where no reader is ever behind. */
  last_write: string | null;
}

export interface LoginNetworkRow {
  user_id: string;
  /** An IPv4 address, or the /64 of an IPv6 address. */
  network: string;
  seen_at: number;
}

/** Failed logins of late. */
export interface LoginFailureRow {
  /** What is counted by, e.g. `address`. */
  kind: string;
  /** SHA-256 of the account or network. */
  key: string;
  count: number;
  last_at: number;
}

export interface SetupLinkRow {
  secret_hash: string;
  expires_at: number;
}

export interface ApiKeyRow {
  id: string;
  workspace_id: string;
  name: string;
  prefix: string;
  secret_hash: string;
  scopes_json: string;
  created_at: number;
  /** Id of the user or key that made it. */
  created_by: string;
  last_used_at: number | null;
  revoked_at: number | null;
  /** As of a session. */
  last_write: string | null;
}

export interface AuditRow {
  id: string;
  /** Null for what belongs to no workspace, such as a refused login. */
  workspace_id: string | null;
  actor_kind: string;
  actor_id: string;
  action: string;
  target_id: string | null;
  outcome: string;
  /** The network address that the request came from. */
  address: string;
  call_id: string;
  time: number;
}

export interface IdempotencyRow {
  /** SHA-256 of workspace, actor and key: the key itself is not kept. */
  id: string;
  /** SHA-256 of method, path and body. */
  fingerprint: string;
  /** Null while the first request is under way. */
  answer: Uint8Array | null;
  /** When the row may be taken over (under way) or forgotten (answered). */
  expires_at: number;
}

export interface TemplateRow {
  id: string;
  workspace_id: string;
  name: string;
  draft_json: string;
  /** Rises by one with each change of name or draft. */
  revision: number;
  published_version: number | null;
  created_at: number;
  updated_at: number;
}

/** Never changes once written. */
export interface TemplateVersionRow {
  workspace_id: string;
  template_id: string;
  version: number;
  name: string;
  content_json: string;
  compiled_json: string;
  created_at: number;
  created_by: string;
}

export interface PersonRow {
  id: string;
  workspace_id: string;
  version: number;
  user_id: string | null;
  email: string | null;
  /** In lower case; not unique: two people may share a mailbox. */
  email_key: string | null;
  attributes_json: string;
  /** By attribute, the stamp of its last change; see people/person-state.ts. */
  stamps_json: string;
  time_zone: string | null;
  consent_email: string;
  consent_by: string;
  consent_at: number;
  gone: number;
  /** Never a person who is merged herself: chains are flattened when they would arise. */
  merged_into: string | null;
  created_at: number;
  updated_at: number;
}

/** What a sender calls a person; the person may be one that was merged since. */
export interface IdentityRow {
  workspace_id: string;
  /** `user` or `anonymous`. */
  kind: string;
  value: string;
  person_id: string;
}

/** What a deleted person was called, as a keyed hash: events that were on their way then are not to bring her back. */
export interface ErasedIdentityRow {
  workspace_id: string;
  hash: string;
  erased_at: number;
}

export interface GroupRow {
  workspace_id: string;
  group_id: string;
  traits_json: string;
  stamps_json: string;
  updated_at: number;
}

/** Never changes once written. Stays with the person whom it was recorded for when she is merged into another. */
export interface EventRow {
  id: string;
  workspace_id: string;
  person_id: string;
  type: string;
  name: string;
  properties_json: string;
  context_json: string | null;
  time: number;
  received_at: number;
}

/** Which messages have been taken, by their sender's id. */
export interface SeenMessageRow {
  workspace_id: string;
  message_id: string;
  seen_at: number;
}

/** What was refused, newest last; holds names and ids, never values. */
export interface IngestProblemRow {
  id: string;
  workspace_id: string;
  time: number;
  message_id: string | null;
  type: string | null;
  reason: string;
  detail: string;
}

export interface ExportRow {
  id: string;
  workspace_id: string;
  what: string;
  format: string;
  state: string;
  /** Why it has failed; null otherwise. */
  reason: string | null;
  /** Known when it is done. */
  rows: number | null;
  bytes: number | null;
  created_at: number;
  /** Id of the user or key that asked for it. */
  created_by: string;
  /** When the file, and the row, may go. */
  expires_at: number;
  /** Whose people; null for everybody. */
  segment_id: string | null;
}

export interface SegmentRow {
  workspace_id: string;
  id: string;
  name: string;
  /** Rises by one with each change of name or condition. */
  version: number;
  /** Another one with each change of the condition. */
  condition_id: string;
  condition_json: string;
  /** How many belong to it. */
  people: number;
  /** While everybody is looked at: the last person who has been. Null when all have. */
  filled_to: string | null;
  /** How many have been. */
  looked_at: number;
  created_at: number;
  updated_at: number;
}

/** Who belongs to a segment; nobody who is gone. */
export interface SegmentMemberRow {
  workspace_id: string;
  segment_id: string;
  person_id: string;
}

export interface ImportRow {
  id: string;
  workspace_id: string;
  format: string;
  state: string;
  /** Why it has failed; null otherwise. */
  reason: string | null;
  /** Of the file; null while it is on its way in. */
  bytes: number | null;
  /** So many bytes of the file are done with. */
  position: number;
  /** The line that what comes next begins in. */
  line: number;
  /** Rows, of those done with. */
  accepted: number;
  refused: number;
  created_at: number;
  /** Id of the user or key that sent it. */
  created_by: string;
  started_at: number | null;
  progressed_at: number;
  finished_at: number | null;
  /** When the file, and the row, may go. */
  expires_at: number;
}

/** What was wrong in a line of an import's file; names, never values. */
export interface ImportRefusalRow {
  import_id: string;
  line: number;
  /** Counts what is wrong in the line. */
  nth: number;
  workspace_id: string;
  /** As the file calls it; empty for the line as a whole. */
  field: string;
  reason: string;
}
