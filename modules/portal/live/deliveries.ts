import { inject, injectable } from 'inversify';
import type { MessageDefinition, Received } from '../../../src/kernel/message.ts';
import type { EffectHandler } from '../../../src/kernel/module.ts';
import type { deliveryUpdated } from '../../notification/contract.ts';
import { Live } from './live.ts';

type DeliveryUpdated = typeof deliveryUpdated extends MessageDefinition<infer P> ? P : never;

/** Passes on to the browsers what became of deliveries. Telling twice does no harm, so nothing is recorded. */
@injectable()
export class TellDeliveries implements EffectHandler<DeliveryUpdated> {
  readonly #live: Live;

  constructor(@inject(Live) live: Live) {
    this.#live = live;
  }

  async perform({ workspace, payload }: Received<DeliveryUpdated>): Promise<undefined> {
    if (workspace === null) return undefined;
    const { deliveryId, personId, templateId, state, reason, source } = payload;
    this.#live.delivery(workspace, { deliveryId, personId, templateId, sourceId: source.id, state, reason });
    return undefined;
  }
}
