import { createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../app/config/config.ts';
import { probe } from '../app/config/parts.ts';
import { hostOfModule } from '../app/config/placement.ts';
import { didYouMean } from '../app/config/suggest.ts';
import { askHost, isRunning } from '../app/control/client.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import { createBlobs } from '../app/host/drivers.ts';
import { parts } from '../app/parts.ts';
import { count } from '../app/plan/plan-text.ts';
import { EXIT, UsageError, type Command } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';

const KINDS = ['people', 'events'];
const FORMATS = ['csv', 'ndjson'];
const LOOK_MS = 250;
const STOP_MS = 1_000;

/** As the host says it. */
interface Stands {
  readonly exportId: string;
  readonly workspace: string;
  readonly state: 'running' | 'done' | 'failed';
  readonly reason: string | null;
  readonly rows: number | null;
  readonly key: string;
}

export const exportCommand: Command = {
  name: 'export',
  usage: 'people|events --to FILE [options]',
  words: 1,
  details: `Writes everybody, or every event, of one workspace to a file, over one state of the database, while the host
works. The host that runs portal on this data directory writes it where its configuration keeps large files
(blobs), and the command fetches it from there.

csv has a first line with the names of the fields; text that a spreadsheet would take for a formula gets an
apostrophe in front. ndjson is one JSON object a line, and exact.

Exit codes: 0 the file is there · 1 failed · 2 wrong option or configuration.`,
  options: {
    ...CONFIG_OPTIONS,
    workspace: { value: 'ID', help: 'Whose; needed where there are several.' },
    to: { value: 'FILE', help: 'Where to, for its owner only; a file that is there is replaced.' },
    segment: { value: 'ID', help: 'Only the people of this segment.' },
    format: { value: 'FORMAT', help: `${FORMATS.join(' or ')}. Default: csv.` },
  },
  async run(args, io) {
    const [what] = args.words;
    if (what === undefined || !KINDS.includes(what)) throw new UsageError(`export needs to know what: ${KINDS.join(' or ')}.${what === undefined ? '' : didYouMean(what, KINDS)}`);
    const format = args.text('format') ?? 'csv';
    if (!FORMATS.includes(format)) throw new UsageError(`--format must be ${FORMATS.join(' or ')}, not ${format}.`);
    const to = args.text('to');
    if (to === undefined) throw new UsageError('export needs to know where to: --to FILE.');
    const file = resolve(io.cwd, to);
    await requirePlaceFor(file);
    const config = loadConfig(args, io, parts);
    const ask = await operatorOf(config);
    const [workspace, segment] = [args.text('workspace'), args.text('segment')];
    let stands = await ask({ what, format, ...(workspace !== undefined && { workspace }), ...(segment !== undefined && { segment }) });
    while (stands.state === 'running') {
      await pause(LOOK_MS);
      stands = await ask({ workspace: stands.workspace, exportId: stands.exportId });
    }
    if (stands.state === 'failed') {
      io.error(`The export has failed: ${stands.reason}.`);
      return EXIT.failed;
    }
    await fetchTo(config, stands.key, file);
    io.out(`${file}: ${count(stands.rows!, 'row')}`);
    return EXIT.ok;
  },
};

/** Before the host writes a file that could not be put there. */
async function requirePlaceFor(file: string): Promise<void> {
  const isFolder = async (path: string) => (await stat(path).catch(() => null))?.isDirectory() ?? false;
  if (!(await isFolder(dirname(file)))) throw new BootProblem(`There is no folder ${dirname(file)}.`, 'Make it, or name another file with --to.');
  if (await isFolder(file)) throw new BootProblem(`${file} is a folder.`, 'Name a file with --to.');
}

async function operatorOf(config: Config): Promise<(request: object) => Promise<Stands>> {
  const host = hostOfModule('portal', config)!;
  if (!(await isRunning(config.dataDir, host))) throw new BootProblem(`The host ${host}, which runs portal, does not run on ${config.dataDir}.`, `Start it, or name its data directory with MULTILITH_DATA.`);
  return (request) => askHost(config.dataDir, host, 'POST', '/operator/portal/export', request) as Promise<Stands>;
}

/** Whole, or not at all. */
async function fetchTo(config: Config, key: string, to: string): Promise<void> {
  const blobs = createBlobs(config.blobs, parts, probe(config.dataDir));
  const part = `${to}.part`;
  await blobs.start();
  try {
    // Whatever stood there has a mode, or leads to a place, of its own.
    await rm(part, { force: true });
    await pipeline(blobs.read(key, new AbortController().signal), createWriteStream(part, { flags: 'wx', mode: 0o600, flush: true }));
    await rename(part, to);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  } finally {
    await blobs.stop(STOP_MS);
  }
}
