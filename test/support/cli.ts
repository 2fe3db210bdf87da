import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { bareEnvironment } from './bare-environment.ts';

const MAIN = join(import.meta.dirname, '../../src/main.js');

export interface CliResult {
  readonly code: number | null;
  readonly out: string;
  readonly error: string;
}

/** Runs a command of the real program to its end. The environment holds nothing of ours but what is given. */
export async function runCli(args: readonly string[], options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {}): Promise<CliResult> {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...bareEnvironment(), ...options.env }, ...(options.cwd && { cwd: options.cwd }), stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });
  const texts = { out: '', error: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (texts.out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (texts.error += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...texts };
}
