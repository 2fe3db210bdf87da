import type { PeerAddress } from '../../src/ports/transport.ts';
import { createBus } from '../support/buses.ts';
import { testContext } from '../support/context.ts';
import { ServedBus } from '../support/linked-bus.ts';

/*
 * The process that keeps the messages for the bench `bus`: serves its embedded bus over rpc, tells its parent where,
 * and ends with it.
 */
const context = testContext();
const at: PeerAddress['at'] = { host: '127.0.0.1', port: 0 };
const served = new ServedBus(createBus('embedded', context), context, at);
process.on('disconnect', async () => {
  await served.stop(1_000);
  context.remove();
  process.exit();
});
await served.start();
process.send!(served.at);
