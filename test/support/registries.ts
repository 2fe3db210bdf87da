import { type TestContext as Test, after, before, describe } from 'node:test';
import { registryDrivers } from '../../adapters/registry/catalog.ts';
import { newId } from '../../src/kernel/ids.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import type { Announcement, Election, Registry, RegistryNeeds, RegistryState } from '../../src/ports/registry.ts';
import { testContext } from './context.ts';
import { within } from './buses.ts';
import { ZooKeeperServer } from './zookeeper.ts';

export type RegistryDriverName = keyof typeof registryDrivers;

export const HOSTS: RegistryNeeds['hosts'] = [
  { host: 'app', addresses: ['127.0.0.1:7001'] },
  { host: 'mailer', addresses: ['127.0.0.1:7002'] },
];

export interface RegistryUnderTest {
  readonly driver: RegistryDriverName;
  /** Of the host `app`, not started; stopped after the test. All of one test are of one deployment. */
  create(t: Test): Registry;
}

/** Runs a suite once for every driver of the catalog, each with what it talks to. */
export function onEachRegistry(title: string, suite: (under: RegistryUnderTest) => void): void {
  for (const driver of Object.keys(registryDrivers) as RegistryDriverName[]) {
    describe(`${title}: ${driver}`, () => suite(UNDER_TEST[driver]()));
  }
}

/** A driver in the catalog without its line here is a compile error. */
const UNDER_TEST: Readonly<Record<RegistryDriverName, () => RegistryUnderTest>> = {
  static: () => ({ driver: 'static', create: (t) => stopped(t, createRegistry('static', {})) }),
  zookeeper() {
    let server: ZooKeeperServer;
    before(async () => void (server = await ZooKeeperServer.start()));
    after(() => server.remove());
    const roots = new WeakMap<Test, string>();
    return {
      driver: 'zookeeper',
      create(t) {
        if (!roots.has(t)) roots.set(t, `/${newId()}`);
        return stopped(t, createRegistry('zookeeper', { servers: [`127.0.0.1:${server.port}`], sessionTimeoutMs: 2_000, root: roots.get(t)! }));
      },
    };
  },
};

/** Of the host `app`. */
export function createRegistry(driver: RegistryDriverName, settings: object, context: { readonly log?: Log } = {}, hosts = HOSTS, replicas = 1): Registry {
  const { settings: schema, create } = registryDrivers[driver];
  const place = testContext({ dataDir: '/nowhere', ...context });
  return (create as (settings: unknown, context: object) => Registry)(schema.parse(settings), { ...place, hosts, host: 'app', replicas });
}

function stopped(t: Test, registry: Registry): Registry {
  t.after(() => registry.stop(2_000));
  return registry;
}

export function announcementOf(change: Partial<Announcement> = {}): Announcement {
  return { host: 'app', process: newId(), address: '127.0.0.1:7001', contracts: { portal: 'a1b2' }, load: 0, ...change };
}

/** Resolves with the first state that looks so. */
export async function untilState(registry: Registry, looks: (state: RegistryState) => boolean, withinMs = 30_000): Promise<RegistryState> {
  let last: RegistryState | undefined;
  let end = (): void => {};
  const seen = new Promise<RegistryState>((resolve) => {
    end = registry.watch((state) => {
      last = state;
      if (looks(state)) resolve(state);
    });
  });
  return within(withinMs, seen, () => `the list never looked as expected: ${JSON.stringify(last)}`).finally(() => end());
}

/** Resolves with the token once it leads, or with undefined once it does not. Takes `onChange`. */
export async function untilToken(election: Election, leads: boolean, withinMs = 30_000): Promise<bigint | undefined> {
  const met = new Promise<bigint | undefined>((resolve) => {
    const look = (): void => {
      const { token } = election;
      if ((token !== undefined) === leads) resolve(token);
    };
    election.onChange = look;
    look();
  });
  return within(withinMs, met, () => (leads ? 'nobody made it leader' : 'it never stepped down'));
}
