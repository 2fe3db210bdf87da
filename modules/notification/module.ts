import { defineModule } from '../../src/kernel/module.ts';
import { personChanged, portal, templatePublished } from '../portal/contract.ts';
import { deliveryUpdated, notification, sendRequested, unsubscribed } from './contract.ts';
import { DeliveryLog } from './deliveries/delivery-log.ts';
import { DeliveryQueries } from './deliveries/delivery-queries.ts';
import { AT_REST } from './deliveries/delivery.ts';
import { Preparation } from './deliveries/preparation.ts';
import { Recipients } from './deliveries/recipients.ts';
import { SendHandler } from './deliveries/send-handler.ts';
import { erasePerson, ErasureHandler } from './erasure/erasure.ts';
import { PersonChangedHandler } from './erasure/person-changed-handler.ts';
import { migrations } from './migrations.ts';
import { NotificationService } from './notification-service.ts';
import { OutboxReader } from './outbox/outbox-reader.ts';
import { Renderer } from './render/renderer.ts';
import { NotificationSettings } from './settings.ts';
import { Suppressions } from './suppressions/suppressions.ts';
import { TemplateNews } from './templates/template-news.ts';
import { TemplateUses } from './templates/template-uses.ts';
import { Templates } from './templates/templates.ts';
import { TestMails } from './templates/test-mails.ts';
import { WarmUp } from './templates/warm-up.ts';

/** Enough to keep every connection of a pool busy while others render and are written down. */
const SENDS_AT_ONCE = 128;

/** Rendering and delivery: takes send requests, decides, renders, sends through channels, records every outcome. */
export const notificationModule = defineModule({
  name: 'notification',
  contract: notification,
  implementation: NotificationService,
  calls: [portal],
  migrations,
  subscriptions: [
    { message: sendRequested, concurrency: SENDS_AT_ONCE, effect: SendHandler, sends: true },
    { message: personChanged, concurrency: 10, transactional: PersonChangedHandler },
    { message: erasePerson, concurrency: 1, effect: ErasureHandler },
  ],
  hears: [templatePublished],
  retention: [{ name: 'deliveries', table: 'deliveries', key: ['workspace', 'created_at', 'id'], time: 'updated_at', only: { column: 'state', values: AT_REST }, remembers: sendRequested }],
  publishes: [sendRequested, erasePerson, deliveryUpdated, unsubscribed],
  settings: NotificationSettings,
  parts: [DeliveryLog, DeliveryQueries, Preparation, Recipients, Suppressions, OutboxReader, Templates, TemplateNews, TemplateUses, TestMails],
  lifecycles: [Renderer, TemplateNews, WarmUp],
  usesChannels: true,
  replicable: true,
});
