import type { Bit } from '../../src/ports/storage.ts';
import type { DeliveryState } from './contract.ts';

/** Notification's own database. Every key begins with the workspace. */
export interface NotificationTables {
  deliveries: {
    workspace: string;
    /** The id of the message that asked for it. */
    id: string;
    person_id: string;
    channel: string;
    template_id: string;
    template_version: number | null;
    source_kind: 'automation' | 'test';
    source_id: string;
    source_version: number;
    run_id: string;
    event_id: string;
    to_address: string | null;
    state: DeliveryState;
    reason: string | null;
    message_id: string;
    may_be_repeated: Bit;
    /** Tries that the other side put off. */
    tries: number;
    /** JSON list of attempts, the oldest first. */
    attempts: string;
    next_attempt_at: number | null;
    created_at: number;
    updated_at: number;
  };
  /**
   * How many deliveries of a source are in which bucket, spread over shards so that senders of one blast do not wait
   * for one row. Pending is what of the audience is in no other bucket.
   */
  delivery_counts: { workspace: string; source_id: string; shard: number; bucket: 'audience' | 'sent' | 'uncertain' | 'suppressed' | 'failed'; reason: string; amount: number };
  /** Who gets nothing more by a channel. */
  suppressions: {
    workspace: string;
    channel: string;
    /** The address in its comparable form, or `person:<id>`. */
    subject: string;
    kind: 'address' | 'person';
    /** The address in its comparable form; for a person the one that went with it, null when none was known. */
    address: string | null;
    reason: string;
    created_at: number;
  };
  /** What test sends are made of, until they come to rest. JSON of a TestMail. */
  test_mails: { workspace: string; delivery_id: string; mail: string };
  /** When a template was last fetched for a mail: to the minute, while it is in use. For the start, see WarmUp. */
  template_uses: { workspace: string; template_id: string; used_at: number };
}
