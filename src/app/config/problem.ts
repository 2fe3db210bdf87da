/** One thing that is wrong with the configuration. */
export interface Problem {
  /** `error` keeps the host from starting. */
  readonly severity: 'error' | 'warning';
  /** Where in the configuration, e.g. `channels.email.port`; empty for the file as a whole. */
  readonly path: string;
  /** What said so: a file with its line, `--set`, or a variable of the environment. */
  readonly source?: string;
  /** What stands there, redacted when secret; left out when there is nothing. */
  readonly found?: string;
  /** What was expected, and what to do about it. */
  readonly expected: string;
}

/** Everything that is wrong, at once. Its message is what a person needs to read. */
export class ConfigError extends Error {
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[]) {
    super(formatProblems(problems));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

export function formatProblems(problems: readonly Problem[]): string {
  const count = problems.length === 1 ? 'One problem' : `${problems.length} problems`;
  return [`${count} with the configuration:`, ...problems.map((problem) => `  ${formatProblem(problem)}`)].join('\n');
}

export function formatProblem({ severity, path, source, found, expected }: Problem): string {
  const where = [path, source === undefined ? '' : `(${source})`].filter((part) => part !== '').join(' ');
  const what = found === undefined ? expected : `${expected.replace(/\.$/, '')}; found ${found}`;
  return `${severity === 'warning' ? 'warning: ' : ''}${where === '' ? '' : `${where}: `}${what}`;
}
