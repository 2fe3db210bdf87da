import { defineModule } from '../../src/kernel/module.ts';
import { sendRequested } from '../notification/contract.ts';
import { eventRecorded, personChanged } from '../portal/contract.ts';
import { Agenda } from './agenda/agenda.ts';
import { Firing } from './agenda/firing.ts';
import { Automations } from './automations/automations.ts';
import { trigger } from './contract.ts';
import { migrations } from './migrations.ts';
import { PersonChangedHandler } from './people/person-changed-handler.ts';
import { RuleIndex } from './rules/rule-index.ts';
import { VersionRules } from './rules/version-rules.ts';
import { Departures } from './runs/departures.ts';
import { Entering } from './runs/entering.ts';
import { EventRecordedHandler } from './runs/event-recorded-handler.ts';
import { Merges } from './runs/merges.ts';
import { TriggerSettings } from './settings.ts';

/** Time and rules: decides what is to be sent to whom, and when. */
export const triggerModule = defineModule({
  name: 'trigger',
  contract: trigger,
  implementation: Automations,
  calls: [],
  migrations,
  subscriptions: [
    { message: eventRecorded, concurrency: 100, transactional: EventRecordedHandler },
    { message: personChanged, concurrency: 100, transactional: PersonChangedHandler },
  ],
  retention: [{ name: 'entries', table: 'entries', key: ['workspace', 'person_id', 'automation_id', 'event_at', 'event_id'], time: 'event_at' }],
  publishes: [sendRequested],
  settings: TriggerSettings,
  parts: [RuleIndex, VersionRules, Firing, Agenda, Entering, Departures, Merges, EventRecordedHandler, PersonChangedHandler],
  lifecycles: [RuleIndex, Agenda],
  replicable: true,
});
