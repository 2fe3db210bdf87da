import { requireConfig, type Config, type ConfigSources } from '../app/config/config.ts';
import type { Parts } from '../app/config/parts.ts';
import { formatProblem } from '../app/config/problem.ts';
import { didYouMean } from '../app/config/suggest.ts';
import { UsageError, type Args, type Io, type Option } from './command.ts';

/** Every command that reads the configuration takes these. */
export const CONFIG_OPTIONS = {
  topology: { value: 'FILE', short: 't', help: 'The topology: a file, or the name of one in ./config. Default: default (or MULTILITH_TOPOLOGY).' },
  set: { value: 'PATH=VALUE', many: true, help: 'One setting on top of everything else, e.g. --set http.listen=127.0.0.1:9000. May be repeated; values are YAML.' },
} as const satisfies Record<string, Option>;

export const HOST_OPTION = { host: { value: 'NAME', help: 'Which host of the topology this process is. Needed only when there are several (or MULTILITH_HOST).' } } as const satisfies Record<string, Option>;

export function sourcesOf(args: Args, { env, cwd }: Io): ConfigSources {
  return { topology: args.text('topology'), sets: args.texts('set'), env, cwd };
}

/** The configuration, with its warnings on standard error. @throws ConfigError with everything that is wrong. */
export function loadConfig(args: Args, io: Io, parts: Parts): Config {
  const { config, warnings } = requireConfig(sourcesOf(args, io), parts);
  for (const warning of warnings) io.error(formatProblem(warning));
  return config;
}

/** The host that this process is. @throws UsageError when that is not clear. */
export function hostOf(config: Config, args: Args, { env }: Io): string {
  const names = Object.keys(config.hosts);
  const wanted = args.text('host') ?? (env.MULTILITH_HOST || undefined) ?? (names.length === 1 ? names[0] : undefined);
  if (wanted === undefined) throw new UsageError(`The topology has several hosts; say which with --host: ${names.join(', ')}.`);
  if (!names.includes(wanted)) throw new UsageError(`The topology has no host ${JSON.stringify(wanted)}.${didYouMean(wanted, names)} There are: ${names.join(', ')}.`);
  return wanted;
}
