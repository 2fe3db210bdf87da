import { type Config, readConfig } from '../app/config/config.ts';
import { formatProblem } from '../app/config/problem.ts';
import { checkBlobs, checkBus, checkChannels, checkClock, checkDataDir, checkNode, checkPort, checkSending, checkStorages, type Finding } from '../app/host/checks.ts';
import { checkPeers, checkSharedCaches } from '../app/host/peer-checks.ts';
import { checkQueues } from '../app/host/queue-checks.ts';
import { parts } from '../app/parts.ts';
import { planOf } from '../app/plan/plan.ts';
import { type Args, EXIT, type Command, type Io } from './command.ts';
import { CONFIG_OPTIONS, HOST_OPTION, hostOf, sourcesOf } from './configuration.ts';
import { wrapped } from './top/text.ts';

export const doctor: Command = {
  name: 'doctor',
  usage: '[--json] [options]',
  details: `Looks at the configuration, Node, the data directory (writable, free space, file system, how long an
fsync takes), the port, database servers, the channels (is the SMTP server there?) and the clock. Of a topology with several
hosts it checks what --host needs: its port for the others, whether they answer, know the secret and
fit, their clocks and the registry; and the caches that hosts share. A host that runs here is asked
which queues are paused; where none runs, that is not known.
Each line says ok, warn or fail, and what to do. A running host is not disturbed.

Exit codes: 0 nothing fails (warnings do not count) · 1 something does · 2 wrong option.`,
  options: { ...CONFIG_OPTIONS, ...HOST_OPTION, json: { help: 'JSON for programs.' } },
  async run(args, io) {
    const { config, problems } = readConfig(sourcesOf(args, io), parts);
    const all = config === undefined ? problems : [...problems, ...planOf(config, parts).findings];
    const findings: Finding[] = all.map((problem) => ({ check: 'configuration', state: problem.severity === 'warning' ? 'warn' : 'fail', detail: formatProblem(problem), remedy: 'Correct it; `multilith plan` shows the result.' }));
    if (all.length === 0) findings.push({ check: 'configuration', state: 'ok', detail: config!.topology });
    findings.push(checkNode(), await checkClock());
    if (config !== undefined) findings.push(...(await checkHere(config, args, io)));
    if (args.flag('json')) io.out(JSON.stringify(findings, undefined, 2));
    else for (const finding of findings) io.out(findingText(finding, io.width));
    return findings.some(({ state }) => state === 'fail') ? EXIT.failed : EXIT.ok;
  },
};

/** In two columns, the second wrapped under itself. */
function findingText({ state, check, detail, remedy }: Finding, width = Infinity): string {
  const head = `${state.padEnd(4)}  ${check.padEnd(14)} `;
  const room = width - head.length;
  const lines = [...wrapped(detail, room, ''), ...(remedy === undefined ? [] : wrapped(`→ ${remedy}`, room, '  '))];
  return head + lines.join(`\n${' '.repeat(head.length)}`);
}

/** What the host needs that this machine is to run; everything, where that is the whole system. */
async function checkHere(config: Config, args: Args, io: Io): Promise<Finding[]> {
  const names = Object.keys(config.hosts);
  const isNamed = args.text('host') !== undefined || Boolean(io.env.MULTILITH_HOST);
  const host = names.length === 1 || isNamed ? hostOf(config, args, io) : undefined;
  const modules = parts.modules.filter(({ name }) => host === undefined || config.hosts[host]!.modules.includes(name));
  return [
    ...(await checkDataDir(config)),
    ...(modules.some(({ http }) => http !== undefined) ? [await checkPort(config)] : []),
    ...(await checkStorages(config, modules.map(({ name }) => name), parts)),
    ...(await checkBus(config, parts)),
    ...(modules.some(({ usesChannels }) => usesChannels) ? await checkChannels(config, parts) : []),
    ...(await checkQueues(config)),
    ...checkSending(config),
    ...(await checkBlobs(config, parts)),
    ...(host === undefined ? [{ check: 'hosts', state: 'warn', detail: `there are several, and none was named: ${names.join(', ')}`, remedy: `Say which one this machine runs, e.g. --host ${names[0]}; then the others are looked for too.` } as const] : []),
    ...(host !== undefined && config.hosts[host]!.listen !== undefined ? await checkPeers(config, host, parts) : await checkSharedCaches(config, parts)),
  ];
}
