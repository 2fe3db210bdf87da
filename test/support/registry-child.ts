import { createRegistry } from './registries.ts';

/** What the child is told: one JSON object as its first argument. */
export interface RegistryChildPlan {
  readonly settings: object;
  readonly office: string;
  readonly process: string;
}

/** What it says every few milliseconds. Tokens as text: JSON has no bigint. */
export interface RegistryChildWord {
  /** Asked for just now. */
  readonly token: string | null;
  /** The first one that it ever had, as somebody would use it who does not ask again. */
  readonly held: string | null;
  /** Since its last word, at the moment before the token was asked for. */
  readonly silentMs: number;
}

/* A process of the host `app` that announces itself and stands for an office until it is killed. */
const { settings, office, process: id } = JSON.parse(process.argv[2]!) as RegistryChildPlan;
const registry = createRegistry('zookeeper', settings);
await registry.start();
await registry.announce({ host: 'app', process: id, address: '127.0.0.1:7009', contracts: {}, load: 0 });
const election = registry.elect(office);
let last = performance.now();
let held: string | null = null;
setInterval(() => {
  const now = performance.now();
  const silentMs = now - last;
  last = now;
  const token = election.token?.toString() ?? null;
  held ??= token;
  process.send!({ token, held, silentMs } satisfies RegistryChildWord);
}, 5);
process.on('disconnect', () => process.exit());
