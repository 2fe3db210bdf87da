import type { Config } from '../app/config/config.ts';
import { workerQueues } from '../app/config/worker-queues.ts';
import { parts } from '../app/parts.ts';
import { Fault } from '../kernel/fault.ts';
import type { BrowsedMessage, Part, PastTries, QueueState } from '../ports/bus.ts';
import { inParts } from '../ports/in-parts.ts';
import { QUEUE_STATUSES, viewOf, type QueueStatus } from '../ports/queues.ts';
import { columns, count } from '../app/plan/plan-text.ts';
import { didYouMean } from '../app/config/suggest.ts';
import { queuesOf } from '../app/unclaimed-queues.ts';
import { age, type Ask, withBus } from './bus-access.ts';
import { EXIT, UsageError, type Args, type Command, type Io } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';
import { FILTERS, filterOf, limitOf, requireScope } from './queue-filter.ts';
import { harmless } from './top/text.ts';

interface Action {
  /** The options that it takes, beside those that every action takes. */
  readonly options: readonly string[];
  run(ask: Ask, queue: string, args: Args, io: Io): Promise<void>;
}

const ACTIONS: Readonly<Record<string, Action>> = {
  list: { options: ['workspace', 'status'], run: list },
  inspect: { options: ['workspace'], run: inspect },
  browse: { options: ['dead', ...FILTERS, 'limit', 'after'], run: browse },
  pause: { options: ['workspace'], run: pause },
  resume: { options: ['workspace'], run: resume },
  requeue: { options: ['all', ...FILTERS], run: requeue },
  purge: { options: ['dead', 'all', ...FILTERS], run: purge },
  forget: { options: ['all'], run: forget },
};
const PROGRESS_MS = 1_000;
const EVERYWHERE: readonly string[] = [...Object.keys(CONFIG_OPTIONS), 'json'];

export const queues: Command = {
  name: 'queues',
  usage: 'list | inspect|browse|pause|resume|requeue|purge|forget <queue> [options]',
  words: 2,
  details: `  list              every queue with its depths, --status for those that are in a certain one
  inspect <queue>   one queue in full
  browse <queue>    its messages with what they have been through, the oldest first, personal data redacted;
                    --dead for the error queue
  pause <queue>     hold it back; messages under way finish, the rest waits, over restarts too
  resume <queue>    let it go on
  requeue <queue>   dead messages back into the queue, their tries counted anew
  purge <queue>     delete messages for good; --dead for those in the error queue
  forget <queue>    delete all that is in a queue of an older build, dead messages too, and put no more into it

list and inspect tell of all messages or, with --workspace, of one workspace's, each count up to 10,000;
pause and resume take the whole queue or one workspace of it.
requeue and purge want to be told which messages: --all, or any of the filters, which are joined by "and";
forget wants --all, and refuses a queue that a module or the topology has a use for.
They go part by part and say how far they are on standard error, once a second; what is done stays done
when they are broken off.
A queue is paused, unattended (messages are due and nobody takes them), busy (as many under way as may
be), working, waiting (what it has is not yet due) or idle.
A running host is asked through the socket in its data directory (<host>.sock, for the user that
runs it only), and asks the host that keeps the messages; without one the command opens the bus itself
for as long as it takes, where it lies in this data directory.

Exit codes: 0 done · 1 failed · 2 wrong option or configuration.`,
  options: {
    ...CONFIG_OPTIONS,
    dead: { help: 'browse, purge: the error queue instead of the queue itself.' },
    all: { help: 'requeue, purge, forget: every message.' },
    status: { value: 'STATUS', help: `list: only queues that are ${QUEUE_STATUSES.join(', ')}.` },
    ids: { value: 'ID,ID', help: 'Only the messages with these ids.' },
    workspace: { value: 'ID', help: "One workspace's messages alone." },
    name: { value: 'NAME', help: 'Only messages of this name.' },
    reason: { value: 'TEXT', help: 'Only dead messages whose reason contains this.' },
    before: { value: 'TIME', help: 'Only messages published before this time, e.g. 2026-11-21T09:00:00Z.' },
    limit: { value: 'N', help: 'browse: how many, 1 to 1000. Default: 20.' },
    after: { value: 'CURSOR', help: 'browse: go on from where the last page ended.' },
    json: { help: 'JSON for programs.' },
  },
  async run(args, io) {
    const [name = 'list', queue] = args.words;
    const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name]! : undefined;
    if (action === undefined) throw new UsageError(`There is no "queues ${name}".${didYouMean(name, Object.keys(ACTIONS))} There are: ${Object.keys(ACTIONS).join(', ')}.`);
    if (name !== 'list' && queue === undefined) throw new UsageError(`queues ${name} needs the name of a queue; "queues list" shows them.`);
    if (name === 'list' && queue !== undefined) throw new UsageError(`queues list shows all queues and does not know what to do with ${JSON.stringify(queue)}; "queues inspect ${queue}" shows one.`);
    refuseOtherOptions(name, action, args);
    const config = loadConfig(args, io, parts);
    if (name === 'forget') requireUnclaimed(queue!, config);
    await withBus(config, io, (ask) => action.run(ask, queue ?? '', args, io).catch((error: unknown) => explain(error, queue, ask)));
    return EXIT.ok;
  },
};

/** @throws what went wrong; where it is the queue's name, with the names that there are. */
async function explain(error: unknown, queue: string | undefined, ask: Ask): Promise<never> {
  if (queue === undefined || !Fault.is(error) || error.reason !== 'queue_not_found') throw error;
  throw new Fault('not_found', noQueue(queue, (await ask('inspect', {})) as QueueState[]), { reason: error.reason, cause: error });
}

function noQueue(queue: string, states: readonly QueueState[]): string {
  const names = states.map(({ name }) => name);
  return `There is no queue ${queue}.${didYouMean(queue, names)} ${names.length === 0 ? 'There is none yet.' : `There are: ${names.join(', ')}.`}`;
}

/** An option that an action would not look at was meant to change what it does. */
function refuseOtherOptions(name: string, { options }: Action, { given }: Args): void {
  const other = given.find((option) => !options.includes(option) && !EVERYWHERE.includes(option));
  if (other !== undefined) throw new UsageError(`queues ${name} takes no --${other}. It takes: ${[...options, ...EVERYWHERE].map((option) => `--${option}`).join(', ')}.`);
}

async function list(ask: Ask, _queue: string, args: Args, io: Io): Promise<void> {
  const wanted = statusOption(args);
  const { workspace } = workspaceOf(args);
  const views = ((await ask('inspect', workspaceOf(args))) as QueueState[]).map((state) => viewOf(state, workspace)).filter(({ status }) => wanted === undefined || status === wanted);
  if (args.flag('json')) return io.out(JSON.stringify(views, undefined, 2));
  const rows = views.map(({ name, depth, waiting, inFlight, concurrency, dead, oldestMs, status, pausedWorkspaces }) => {
    const held = status !== 'paused' && pausedWorkspaces.length > 0 ? `, ${count(pausedWorkspaces.length, 'workspace')} paused` : '';
    return [name, String(depth), String(waiting), `${inFlight} of ${concurrency}`, String(dead), oldestMs === null ? '-' : age(oldestMs), `${status}${held}`];
  });
  io.out(columns([['queue', 'ready', 'waiting', 'in flight', 'dead', 'oldest', 'status'], ...rows]).join('\n'));
}

function statusOption(args: Args): QueueStatus | undefined {
  const text = args.text('status');
  if (text === undefined) return undefined;
  const status = QUEUE_STATUSES.find((one) => one === text);
  if (status === undefined) throw new UsageError(`--status must be one of ${QUEUE_STATUSES.join(', ')}, not ${text}.`);
  return status;
}

async function inspect(ask: Ask, queue: string, args: Args, io: Io): Promise<void> {
  const { workspace } = workspaceOf(args);
  const [state] = (await ask('inspect', { queue, ...workspaceOf(args) })) as QueueState[];
  const view = viewOf(state!, workspace);
  if (args.flag('json')) return io.out(JSON.stringify(view, undefined, 2));
  const { ready, oldestMs, pausedWorkspaces } = view;
  const rows: [string, string][] = [
    ['status', view.status],
    ['ready', `${ready.urgent} urgent, ${ready.normal} normal, ${ready.bulk} bulk`],
    ['waiting', String(view.waiting)],
    ['in flight', `${view.inFlight} of ${view.concurrency} at once, ${count(view.consumers, 'consumer')}`],
    ['dead', String(view.dead)],
    ['oldest', oldestMs === null ? '-' : age(oldestMs)],
    ['paused', view.paused ? 'yes' : pausedWorkspaces.length > 0 ? `workspaces ${pausedWorkspaces.join(', ')}` : 'no'],
    ['last received', time(view.lastPublished)],
    ['last pulled', time(view.lastTaken)],
  ];
  io.out([view.name, ...columns(rows)].join('\n'));
}

async function browse(ask: Ask, queue: string, args: Args, io: Io): Promise<void> {
  const after = args.text('after');
  const page = (await ask('browse', { queue, dead: args.flag('dead'), filter: filterOf(args), limit: limitOf(args), ...(after !== undefined && { after }) })) as { messages: BrowsedMessage[]; next: string | null };
  if (args.flag('json')) return io.out(JSON.stringify(page, undefined, 2));
  for (const { id, name, workspace, key, lane, time: published, due, attempts, reason, history, payload } of page.messages) {
    const rows = [['workspace', workspace ?? '-'], ['key', key ?? '-'], ['published', `${time(published)}, ${lane}`], ['due', time(due)], ['tries', String(attempts)], ...(reason === null ? [] : [['reason', reason]]), ...historyRows(history), ['payload', payload]];
    // Recipients' servers and programs of others have written most of it.
    io.out([`${id}  ${name}`, ...columns(rows)].map(harmless).join('\n'));
  }
  io.out(page.messages.length === 0 ? 'No messages.' : page.next === null ? 'That is all.' : `More: --after ${page.next}`);
}

/** What the line with the reason does not say already. */
function historyRows(history: readonly PastTries[]): [string, string][] {
  if (history.length < 2 && history.every(({ times }) => times === 1)) return [];
  return history.map(({ first, last, times, reason }, at) => {
    const often = times === 1 ? '' : `, ${times} times since ${time(first)}`;
    return [at === 0 ? 'history' : '', `${time(last)}${often}: ${reason ?? 'requeued'}`];
  });
}

async function pause(ask: Ask, queue: string, args: Args, io: Io): Promise<void> {
  await ask('pause', { queue, ...workspaceOf(args) });
  report(args, io, { queue, paused: true, ...workspaceOf(args) }, `${queue} is paused${forWorkspace(args)}.`);
}

async function resume(ask: Ask, queue: string, args: Args, io: Io): Promise<void> {
  await ask('resume', { queue, ...workspaceOf(args) });
  report(args, io, { queue, paused: false, ...workspaceOf(args) }, `${queue} goes on${forWorkspace(args)}.`);
}

async function requeue(ask: Ask, queue: string, args: Args, io: Io): Promise<void> {
  requireScope(args, 'requeue');
  const requeued = await inParts((from) => ask('requeue', { queue, filter: filterOf(args), ...from }) as Promise<Part>, progress(args, io, queue, 'requeued'));
  report(args, io, { queue, requeued }, `${count(requeued, 'message')} back in ${queue}.`);
}

async function purge(ask: Ask, queue: string, args: Args, io: Io): Promise<void> {
  requireScope(args, 'purge');
  const purged = await inParts((from) => ask('purge', { queue, dead: args.flag('dead'), filter: filterOf(args), ...from }) as Promise<Part>, progress(args, io, queue, 'purged'));
  report(args, io, { queue, purged }, `${count(purged, 'message')} deleted from ${args.flag('dead') ? `the error queue of ${queue}` : queue}.`);
}

/** Messages of a host that is away for a moment are not to be lost. */
function requireUnclaimed(queue: string, config: Config): void {
  if (![...queuesOf(parts.modules), ...workerQueues(config.bus, parts).map(({ name }) => name)].includes(queue)) return;
  throw new Fault('conflict', `A module or the topology has a use for ${queue}; "queues purge" deletes what is in it.`, { reason: 'queue_in_use' });
}

async function forget(ask: Ask, queue: string, args: Args, io: Io): Promise<void> {
  requireScope(args, 'forget');
  await ask('forget', { queue });
  let purged = 0;
  for (const dead of [false, true]) purged += await inParts((from) => ask('purge', { queue, dead, filter: {}, ...from }) as Promise<Part>, progress(args, io, queue, 'purged'));
  report(args, io, { queue, purged }, `${count(purged, 'message')} deleted; ${queue} gets no more.`);
}

/** Tells on standard error how far a long piece of work is: after its first part, and then once a second. */
function progress(args: Args, io: Io, queue: string, done: 'requeued' | 'purged'): (sofar: number) => void {
  let told = -Infinity;
  return (sofar) => {
    if (performance.now() - told < PROGRESS_MS) return;
    told = performance.now();
    io.error(args.flag('json') ? JSON.stringify({ queue, [done]: sofar, done: false }) : `${count(sofar, 'message')} ${done} so far …`);
  };
}

function report(args: Args, io: Io, value: object, text: string): void {
  io.out(args.flag('json') ? JSON.stringify(value) : text);
}

function workspaceOf(args: Args): { workspace?: string } {
  const workspace = args.text('workspace');
  return workspace === undefined ? {} : { workspace };
}

function forWorkspace(args: Args): string {
  const workspace = args.text('workspace');
  return workspace === undefined ? '' : ` for workspace ${workspace}`;
}

function time(at: number | null): string {
  return at === null ? '-' : new Date(at).toISOString();
}
