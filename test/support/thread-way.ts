import type { Duplex } from 'node:stream';
import type { Way } from '../../adapters/transport/rpc/link.ts';
import { newStreamEnds, ThreadStream } from '../../adapters/transport/thread/thread-stream.ts';
import type { Server } from '../../src/ports/transport.ts';

/** As between threads, with both ends in this one, so that a test sees both; a module in a worker is test/unit/app/thread's matter. */
export function threadWayTo(server: Server<Duplex>): Way {
  return {
    name: 'the thread',
    connect() {
      const [here, there] = newStreamEnds();
      server.accept(new ThreadStream(there));
      return new ThreadStream(here);
    },
  };
}
