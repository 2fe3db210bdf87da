import type { Bit } from '../../src/ports/storage.ts';

/** Trigger's own database. Every key begins with the workspace, but for the agenda's, which is in order of time. */
export interface TriggerTables {
  /** One row per automation, kept narrow: the counts change with every event. The rule is that of its version. */
  automations: {
    workspace: string;
    id: string;
    version: number;
    /** Rises by one when the automation is turned off: what waits under an older one has ended. */
    epoch: number;
    enabled: Bit;
    /** With each change the next number of the workspace: whoever knows all up to one number asks for what is behind it. */
    revision: number;
    entered: number;
    waiting: number;
    sent: number;
    left_unqualified: number;
    left_gone: number;
    left_off: number;
    left_merged: number;
    turned_away: number;
    name: string;
    created_at: number;
    updated_at: number;
  };
  /** Never changed once written. */
  automation_versions: {
    workspace: string;
    automation_id: string;
    version: number;
    /** JSON of an AutomationRule. */
    rule: string;
    created_at: number;
    /** Which call made it, from its caller and idempotency key; null without a key. */
    saved_by: string | null;
  };
  /** Trigger's own copy of what conditions may ask about a person. */
  people: {
    workspace: string;
    id: string;
    version: number;
    gone: Bit;
    /** The person that this one went up in. Final. */
    merged_into: string | null;
    /** JSON of PersonFacts; `{}` for persons that are gone. */
    facts: string;
  };
  /** Who entered which automation by which event: for the re-entry rules, and so that no event enters twice. */
  entries: { workspace: string; person_id: string; automation_id: string; event_at: number; event_id: string };
  /** Everything that will happen, in order of time. */
  agenda: {
    due: number;
    run_id: string;
    workspace: string;
    automation_id: string;
    version: number;
    epoch: number;
    person_id: string;
    event_id: string;
    event_at: number;
    /** JSON of the event's properties. */
    event: string;
  };
  /** Automations whose ended rows still lie in the agenda. */
  purges: { workspace: string; automation_id: string };
}
