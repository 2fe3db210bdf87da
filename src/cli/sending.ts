import { isRunning } from '../app/control/client.ts';
import { didYouMean } from '../app/config/suggest.ts';
import { holdText, readHold, releaseSending } from '../app/host/sending-hold.ts';
import { parts } from '../app/parts.ts';
import { columns, count } from '../app/plan/plan-text.ts';
import { queueName } from '../fabric/envelope.ts';
import type { QueueState } from '../ports/bus.ts';
import { age, type Ask, withBus } from './bus-access.ts';
import { EXIT, UsageError, type Command } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';

/** Messages of which each is something that goes out. */
interface Outgoing {
  readonly queue: string;
  readonly due: number;
  /** Not due yet: put off, or between two tries. */
  readonly waiting: number;
  readonly oldestMs: number | null;
}

export const sending: Command = {
  name: 'sending',
  usage: '[release] [options]',
  words: 1,
  details: `Says whether sending is held, as it is in a copy that "multilith restore" has made, and what would go out.

  release           let it go: a running host begins within a second

What waits is what the original had not sent at the moment of its backup, and what the copy's automations have
found due since it was started: some of it the original may have sent in the meantime. To send none of that,
delete it first: multilith queues purge notification.send-requested --all. Start the host and let it catch up before you look.

Exit codes: 0 done · 1 failed · 2 wrong option or configuration.`,
  options: { ...CONFIG_OPTIONS, json: { help: 'JSON for programs.' } },
  async run(args, io) {
    const [name] = args.words;
    if (name !== undefined && name !== 'release') throw new UsageError(`There is no "sending ${name}".${didYouMean(name, ['release'])} There is: release.`);
    const config = loadConfig(args, io, parts);
    const { dataDir } = config;
    const held = readHold(dataDir);
    const outgoing = await withOutgoing((work) => withBus(config, io, work));
    if (name === 'release') await releaseSending(dataDir);
    const isHeld = held !== undefined && name !== 'release';
    if (args.flag('json')) {
      io.out(JSON.stringify({ held: isHeld, ...(held !== undefined && { copyOf: held.backup, restored: held.since }), outgoing }, undefined, 2));
      return EXIT.ok;
    }
    io.out(held === undefined ? 'Sending is not held.' : isHeld ? holdText(held) : 'Sending is released.');
    const runs = (await Promise.all(Object.keys(config.hosts).map((host) => isRunning(dataDir, host)))).some(Boolean);
    if (held !== undefined && !runs) io.out('No host runs here: what automations find due at the start is not counted.');
    io.out(columns(outgoing.map(({ queue, due, waiting, oldestMs }) => [queue, count(due, 'message'), `${waiting} not due yet`, oldestMs === null ? '' : `the oldest due for ${age(oldestMs)}`])).join('\n'));
    return EXIT.ok;
  },
};

async function withOutgoing(withAsk: (work: (ask: Ask) => Promise<void>) => Promise<void>): Promise<Outgoing[]> {
  const queues = parts.modules.flatMap(({ name, subscriptions }) => subscriptions.filter(({ sends }) => sends).map(({ message }) => queueName(message, name)));
  let states: QueueState[] = [];
  await withAsk(async (ask) => void (states = (await ask('inspect', {})) as QueueState[]));
  return states.filter(({ name }) => queues.includes(name)).map(({ name, ready, inFlight, waiting, oldestMs }) => ({ queue: name, due: ready.urgent + ready.normal + ready.bulk + inFlight, waiting, oldestMs }));
}
