import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { type Random, seeded } from '../support/seed.ts';
import { SplitLoad } from '../support/split-load.ts';
import type { Meddle, TcpProxy } from '../support/tcp-proxy.ts';
import { type LayoutName, layouts } from '../support/topologies.ts';

const ROUNDS = isLong ? 20 : 1;
const BROKEN_MS = isLong ? 10_000 : 1_500;

/** What is done to everything that goes to a host and comes from it, until it is mended. */
const trouble: Readonly<Record<string, (proxy: TcpProxy, random: Random) => void>> = {
  'cut in the middle of what is said': (proxy, random) => proxy.cutAfter(1 + random.whole(5_000), random.whole(2) === 0 ? 'up' : 'down'),
  late: (proxy, random) => void (proxy.delayMs = 50 + random.whole(300)),
  'repeated in part': (proxy, random) => void (proxy.meddle = sometimes(random, (chunk) => [chunk, chunk])),
  'changed in part': (proxy, random) => void (proxy.meddle = sometimes(random, (chunk) => [flipped(chunk, random)])),
  'lost in part': (proxy, random) => void (proxy.meddle = sometimes(random, () => [])),
  'swallowed whole': (proxy) => void (proxy.isBlackHole = true),
};

/** rpc checks every frame; http leaves that to TCP and TLS, which never hand on what was changed, repeated or lost. */
const ofAnyKind = Object.keys(trouble);
const ofConnections = ['cut in the middle of what is said', 'late', 'swallowed whole'];
const campaigns: readonly (readonly [LayoutName, readonly string[]])[] = [['each module on its own host over rpc', ofAnyKind], ...(isLong ? [['each module on its own host over http', ofConnections] as const] : [])];
for (const [name, kinds] of campaigns) {
  it(`bytes between hosts ${kinds.join(', ')}, under load, ${name}: nothing is lost, nothing done twice, the portal answers`, { timeout: 3_600_000 }, async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const { system, load } = await SplitLoad.on(t, layouts[name], { proxied: true });
    for (let round = 0; round < ROUNDS; round++) {
      for (const what of kinds) {
        const proxy = system.proxy(system.hosts[random.whole(system.hosts.length)]!);
        trouble[what]!(proxy, random);
        await new Promise((resolve) => setTimeout(resolve, BROKEN_MS));
        mend(proxy);
        await system.healed().catch((cause: unknown) => {
          throw new Error(`after bytes were ${what}`, { cause });
        });
        await load.more(20);
      }
    }
    await load.addsUp(t);
    load.assertAnswered();
    assert.match(system.output, /connection lost/, 'the trouble was felt');
  });
}

function mend(proxy: TcpProxy): void {
  proxy.delayMs = 0;
  proxy.meddle = undefined;
  // Connections that swallowed something are mute for ever, as with a cable that was pulled.
  proxy.isBlackHole = false;
}

/** To about every tenth piece. */
function sometimes(random: Random, change: (chunk: Buffer) => Buffer[]): Meddle {
  return (chunk) => (random.whole(10) === 0 ? change(chunk) : [chunk]);
}

function flipped(chunk: Buffer, random: Random): Buffer {
  const changed = Buffer.from(chunk);
  changed[random.whole(changed.length)]! ^= 1 << random.whole(8);
  return changed;
}
