import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { hostOfModule } from '../app/config/placement.ts';
import { askHost, isRunning } from '../app/control/client.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import { newId } from '../kernel/ids.ts';
import { EXIT, UsageError, type Args, type Command, type Io } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';
import { customersOf, nextHappening, type Customer } from './demo/agency.ts';
import { Api } from './demo/api.ts';
import { Chance } from './demo/chance.ts';
import { fillMailings, fillPeople } from './demo/fill.ts';
import { onStop } from './demo/stop.ts';

const START_MS = 60_000;
const REPORT_MS = 15_000;

export const demo: Command = {
  name: 'demo',
  usage: '[options]',
  details: `Uses the server that runs on the data directory, or starts one and stops it at the end.
Makes the workspace "Demo agency" with a few hundred customers, templates and automations, then posts
events to /v1/batch until Ctrl-C. All of it goes through the public API, with a key that the control
socket hands out. The same seed makes the same people; running it again adds events only.`,
  options: {
    ...CONFIG_OPTIONS,
    people: { value: 'N', help: 'How many customers, 1 to 10000. Default: 300.' },
    rate: { value: 'N', help: 'Events a second, 0.1 to 100. Default: 1.' },
    events: { value: 'N', help: 'Stop after so many events. Default: until Ctrl-C.' },
    seed: { value: 'N', help: 'Where chance begins. Default: 1.' },
  },
  async run(args, io) {
    const [people, rate, events, seed] = [numberOf(args, 'people', 300, 1, 10_000), numberOf(args, 'rate', 1, 0.1, 100), numberOf(args, 'events', Infinity, 0, Infinity), numberOf(args, 'seed', 1, 0, 2 ** 31)];
    const stop = onStop();
    const config = loadConfig(args, io, (await import('../app/parts.ts')).parts);
    const { dataDir } = config;
    const host = hostOfModule('portal', config)!;
    const server = (await isRunning(dataDir, host)) ? undefined : startServer(args, host, io);
    try {
      const url = await readyUrl(dataDir, host, server, stop);
      const { workspaceId, secret } = (await askHost(dataDir, host, 'POST', '/operator/portal/demo-key', {})) as { workspaceId: string; secret: string };
      const api = new Api(url, secret);
      const chance = new Chance(seed);
      const customers = customersOf(chance, people, Date.now());
      io.out(`Seed ${seed}: ${people} customers, their templates and automations …`);
      await fillPeople(api, customers, newId());
      await fillMailings(api);
      io.out(whatToLookAt(url, workspaceId, secret));
      await trickle(api, { chance, customers, rate, events }, stop, io);
      return EXIT.ok;
    } finally {
      if (server !== undefined && server.exitCode === null) {
        server.kill('SIGTERM');
        await once(server, 'exit');
      }
    }
  },
};

/** A real server of its own, told what we were told. */
function startServer(args: Args, host: string, { env }: Io): ChildProcess {
  const topology = args.text('topology');
  const told = [...(topology === undefined ? [] : ['--topology', topology]), ...args.texts('set').flatMap((set) => ['--set', set])];
  // Its own process group: Ctrl-C in a terminal reaches us, and we stop it when we are done.
  return spawn(process.execPath, ['--enable-source-maps', join(import.meta.dirname, '..', 'main.js'), 'start', '--host', host, ...told], {
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
    // Its log would bury what the demo has to say.
    env: { ...env, MULTILITH_LOG_LEVEL: env.MULTILITH_LOG_LEVEL ?? 'warn' },
  });
}

async function readyUrl(dataDir: string, host: string, server: ChildProcess | undefined, stop: AbortSignal): Promise<string> {
  for (const deadline = Date.now() + START_MS; Date.now() < deadline; await wait(100, undefined, { signal: stop })) {
    if (server !== undefined && server.exitCode !== null) throw new BootProblem('The server did not start.', 'What it said stands above.');
    const status = (await askHost(dataDir, host, 'GET', '/status').catch(() => undefined)) as { phase: string; url: string } | undefined;
    if (status?.phase === 'ready') return status.url;
  }
  throw new BootProblem(`The server was not ready within ${START_MS / 1_000} seconds.`, 'Look at its log.');
}

interface Trickle {
  readonly chance: Chance;
  readonly customers: readonly Customer[];
  readonly rate: number;
  readonly events: number;
}

/** Small batches at an even pace, and now and then a line that says what came of them. */
async function trickle(api: Api, { chance, customers, rate, events }: Trickle, stop: AbortSignal, io: Io): Promise<void> {
  const size = Math.max(1, Math.round(rate));
  let reportAt = Date.now() + REPORT_MS;
  for (let sent = 0; sent < events && !stop.aborted; ) {
    const batch = Array.from({ length: Math.min(size, events - sent) }, () => ({ type: 'track', messageId: newId(), timestamp: new Date().toISOString(), ...nextHappening(chance, customers) }));
    await api.send(batch);
    sent += batch.length;
    if (Date.now() >= reportAt) {
      reportAt = Date.now() + REPORT_MS;
      const { items } = await api.get<{ items: readonly { state: string }[] }>('/api/v1/deliveries?limit=100');
      const counts = Map.groupBy(items, ({ state }) => state);
      io.out(`${sent} events sent; of the last ${items.length} messages ${[...counts].map(([state, some]) => `${some.length} ${state}`).join(', ')}`);
    }
    await wait((1_000 * size) / rate, undefined, { signal: stop }).catch(() => {});
  }
}

function whatToLookAt(url: string, workspaceId: string, key: string): string {
  return `
The demo runs. What to look at:
Log in first; the one-time link that "npm start" printed makes the first owner. Then:
  ${url}/?workspace=${workspaceId}        the workspace "Demo agency"
  ${url}/outbox?workspace=${workspaceId}  its mails, the first ones within seconds
  ${url}/docs  the API
On the command line, with the demo's key (it changes with each demo):
  curl -s -H 'Authorization: Bearer ${key}' '${url}/api/v1/deliveries?limit=5'
  curl -s -H 'Authorization: Bearer ${key}' '${url}/api/v1/agenda?limit=5'
  npm run multilith -- queues list
Ctrl-C ends the demo.
`;
}

function numberOf(args: Args, name: string, otherwise: number, least: number, most: number): number {
  const text = args.text(name);
  const value = text === undefined ? otherwise : Number(text);
  if (Number.isNaN(value) || value < least || value > most) throw new UsageError(`--${name} must be a number from ${least} to ${most}, not ${text}.`);
  return value;
}
