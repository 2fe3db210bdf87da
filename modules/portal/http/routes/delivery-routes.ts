import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { Delivery, DeliveryState, notification } from '../../../notification/contract.ts';
import type { Notification } from '../../../notification/contract.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { Empty, Id, listOf, page } from './shapes.ts';

const Counts = z.object({
  audience: z.int(),
  sent: z.int(),
  pending: z.int(),
  uncertain: z.int(),
  suppressed: z.record(z.string(), z.int()),
  failed: z.record(z.string(), z.int()),
});
const OutboxMail = z.object({ deliveryId: z.string(), from: z.string(), to: z.string(), subject: z.string(), storedAt: z.int(), bytes: z.int() });
const OutboxMessage = z.object({ ...OutboxMail.shape, html: z.string().nullable(), text: z.string().nullable(), raw: z.string() });
const Suppression = z.object({ address: z.string(), channel: z.string(), reason: z.string(), createdAt: z.int() });

const Address = z.string().min(3).max(254);
const ChannelName = z.string().min(1).max(50);

/** What was sent, what was not and why, and to whom nothing may be sent. */
@injectable()
export class DeliveryRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];
  readonly #notification: Notification;

  constructor(@inject(notification.id) mailer: Notification) {
    this.#notification = mailer;
    this.routes = [...this.#deliveries(), ...this.#outbox(), ...this.#suppressions()];
  }

  #deliveries(): AnyRoute[] {
    const tag = 'Deliveries';
    return [
      route({
        id: 'listDeliveries',
        method: 'GET',
        path: '/deliveries',
        tag,
        summary: 'Messages and what became of them, newest first. `sourceId` is an automation\'s id.',
        access: 'read',
        list: true,
        query: z.strictObject({ ...page, personId: Id.optional(), sourceId: Id.optional(), state: DeliveryState.optional() }),
        answer: listOf(Delivery),
        handle: async ({ query, call }) => ({ body: await this.#notification.listDeliveries(query, call) }),
      }),
      route({
        id: 'getDelivery',
        method: 'GET',
        path: '/deliveries/{deliveryId}',
        tag,
        summary: 'Where one message stands, with every try and the other side\'s words.',
        access: 'read',
        params: z.strictObject({ deliveryId: Id }),
        answer: Delivery,
        faults: ['delivery_not_found'],
        handle: async ({ params, call }) => ({ body: await this.#notification.track(params, call) }),
      }),
      route({
        id: 'countDeliveries',
        method: 'GET',
        path: '/automations/{automationId}/deliveries/counts',
        tag,
        summary: 'audience = sent + pending + uncertain + the sums of suppressed and failed, at every moment.',
        access: 'read',
        params: z.strictObject({ automationId: Id }),
        answer: Counts,
        handle: async ({ params: { automationId }, call }) => ({ body: await this.#notification.countDeliveries({ sourceId: automationId }, call) }),
      }),
    ];
  }

  #outbox(): AnyRoute[] {
    const tag = 'Outbox';
    return [
      route({
        id: 'listOutbox',
        method: 'GET',
        path: '/outbox',
        tag,
        summary: 'Mails kept here instead of being sent, newest first; empty when mails leave by SMTP.',
        access: 'read',
        list: true,
        query: z.strictObject(page),
        answer: listOf(OutboxMail),
        handle: async ({ query, call }) => ({ body: await this.#notification.listOutbox(query, call) }),
      }),
      route({
        id: 'readOutbox',
        method: 'GET',
        path: '/outbox/{deliveryId}',
        tag,
        summary: 'One such mail: HTML, text, and the whole as it would have gone out. The HTML is a stranger\'s: show it in a sandbox.',
        access: 'read',
        params: z.strictObject({ deliveryId: Id }),
        answer: OutboxMessage,
        faults: ['delivery_not_found'],
        handle: async ({ params, call }) => ({ body: await this.#notification.readOutbox(params, call) }),
      }),
    ];
  }

  #suppressions(): AnyRoute[] {
    const tag = 'Suppressions';
    const params = z.strictObject({ channel: ChannelName, address: Address });
    return [
      route({
        id: 'listSuppressions',
        method: 'GET',
        path: '/suppressions',
        tag,
        summary: 'Addresses that nothing is sent to, newest first.',
        access: 'read',
        list: true,
        query: z.strictObject(page),
        answer: listOf(Suppression),
        handle: async ({ query, call }) => ({ body: await this.#notification.listSuppressions(query, call) }),
      }),
      route({
        id: 'suppress',
        method: 'PUT',
        path: '/suppressions/{channel}/{address}',
        tag,
        summary: 'Send nothing to this address any more.',
        access: 'write',
        params,
        body: z.strictObject({ reason: z.string().trim().min(1).max(200) }),
        answer: Empty,
        handle: async ({ params: target, body, call }) => ({ body: await this.#notification.suppress({ ...target, reason: body.reason }, call) }),
      }),
      route({
        id: 'unsuppress',
        method: 'DELETE',
        path: '/suppressions/{channel}/{address}',
        tag,
        summary: 'Allow sending to this address again. A person\'s own unsubscription stays.',
        access: 'write',
        params,
        answer: Empty,
        handle: async ({ params: target, call }) => ({ body: await this.#notification.unsuppress(target, call) }),
      }),
    ];
  }
}
