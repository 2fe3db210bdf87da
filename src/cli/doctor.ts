import { readConfig } from '../app/config/config.ts';
import { formatProblem } from '../app/config/problem.ts';
import { checkChannels, checkClock, checkDataDir, checkNode, checkPort, type Finding } from '../app/host/checks.ts';
import { parts } from '../app/parts.ts';
import { planOf } from '../app/plan/plan.ts';
import { EXIT, type Command } from './command.ts';
import { CONFIG_OPTIONS, sourcesOf } from './configuration.ts';

export const doctor: Command = {
  name: 'doctor',
  usage: '[--json] [options]',
  details: `Looks at the configuration, Node, the data directory (writable, free space, file system, how long an
fsync takes), the port, the channels (is the SMTP server there?) and the clock.
Each line says ok, warn or fail, and what to do. A running host is not disturbed.

Exit codes: 0 nothing fails (warnings do not count) · 1 something does · 2 wrong option.`,
  options: { ...CONFIG_OPTIONS, json: { help: 'JSON for programs.' } },
  async run(args, io) {
    const { config, problems } = readConfig(sourcesOf(args, io), parts);
    const all = config === undefined ? problems : [...problems, ...planOf(config, parts).findings];
    const findings: Finding[] = all.map((problem) => ({ check: 'configuration', state: problem.severity === 'warning' ? 'warn' : 'fail', detail: formatProblem(problem), remedy: 'Correct it; `multilith plan` shows the result.' }));
    if (all.length === 0) findings.push({ check: 'configuration', state: 'ok', detail: config!.topology });
    findings.push(checkNode(), await checkClock());
    if (config !== undefined) findings.push(...(await checkDataDir(config)), await checkPort(config), ...(await checkChannels(config, parts)));
    if (args.flag('json')) io.out(JSON.stringify(findings, undefined, 2));
    else for (const { state, check, detail, remedy } of findings) io.out(`${state.padEnd(4)}  ${check.padEnd(14)} ${detail}${remedy === undefined ? '' : `\n      ${''.padEnd(14)} → ${remedy}`}`);
    return findings.some(({ state }) => state === 'fail') ? EXIT.failed : EXIT.ok;
  },
};
