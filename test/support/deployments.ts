import { ActiveMqServer } from './activemq.ts';
import { PostgresServer } from './postgres.ts';
import { type Layout, layouts, type LayoutName, type SystemOptions, TestSystem, twoOfEach } from './topologies.ts';

/** A server that the product is told to use. */
interface Used {
  readonly settings: object;
  remove(): Promise<void>;
}

/** A layout, and the storage and the bus under it; SQLite and the embedded one where it names none. */
export interface Deployment {
  readonly name: string;
  readonly layout: Layout;
  readonly use?: (() => Promise<Used>) | undefined;
}

async function postgres(): Promise<Used> {
  const server = await new PostgresServer().start();
  return { settings: { storage: { default: server.section } }, remove: () => server.remove() };
}

async function activemq(): Promise<Used> {
  const server = await ActiveMqServer.start();
  return { settings: { bus: { driver: 'activemq', port: server.port } }, remove: () => server.remove() };
}

/** What several processes of one host need. */
export async function shared(): Promise<Used> {
  const used = await Promise.all([postgres(), activemq()]);
  return { settings: Object.assign({}, ...used.map(({ settings }) => settings)) as object, remove: async () => void (await Promise.all(used.map((one) => one.remove()))) };
}

const laidOut = (name: LayoutName): Deployment => ({ name, layout: layouts[name] });
const inPostgres: Deployment = { name: 'one process that stores in PostgreSQL', layout: layouts['one process'], use: postgres };

/** Every layout, and the storage and the bus that processes can share. */
export const deployments: readonly Deployment[] = [
  ...(Object.keys(layouts) as LayoutName[]).map(laidOut),
  inPostgres,
  { name: 'one process on ActiveMQ', layout: layouts['one process'], use: activemq },
  { name: 'two processes of each module over rpc, on PostgreSQL and ActiveMQ', layout: twoOfEach, use: shared },
];

/** As little apart as can be, as much, and on the other storage. */
export const extremes: readonly Deployment[] = [laidOut('one process'), laidOut('each module on its own host over rpc'), inPostgres];

/** Ready; its `dispose` also removes the server that it uses. */
export async function deploy({ layout, use }: Deployment, options: SystemOptions = {}): Promise<TestSystem> {
  const used = await use?.();
  if (used === undefined) return TestSystem.start(layout, options);
  return TestSystem.start({ ...layout, settings: { ...layout.settings, ...used.settings } }, { ...options, below: used });
}
