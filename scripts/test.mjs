import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { launch } from './launch.mjs';
import { dist, root, toolchain, whole } from './paths.mjs';
import { providePrograms } from './programs.mjs';
import { Problem } from './progress.mjs';
import { setUp } from './set-up.mjs';

const kinds = ['unit', 'arch', 'contracts', 'conformance', 'e2e', 'faults'];
const minuteMs = 60_000;
/** More files at once than there are cores, since many mostly wait: for servers, time-outs and sessions that end. */
const filesPerCore = 1.5;

/** `npm test [-- part-of-a-path … --flags-of-node-test]` */
export function test(args) {
  return runTests(args, { kinds, fileTimeoutMs: 10 * minuteMs, faults: 'short' });
}

/** The long campaigns, for the night. */
export function testFaults(args) {
  return runTests(args, { kinds: ['faults'], fileTimeoutMs: 120 * minuteMs, faults: 'long' });
}

async function runTests(args, { kinds, fileTimeoutMs, faults }) {
  const wanted = args.filter((arg) => !arg.startsWith('-'));
  const flags = args.filter((arg) => arg.startsWith('-'));
  await providePrograms('test');
  const node = await setUp(whole);
  const files = testFiles(kinds).filter((file) => wanted.length === 0 || wanted.some((part) => matches(file, part)));
  if (files.length === 0) throw new Problem(`No test file matches: ${wanted.join(' ') || kinds.join(' ')}`, 'Tests are test/<kind>/**/*.test.ts; name any part of such a path.');
  process.chdir(root);
  const env = {
    MULTILITH_FAULTS: faults,
    MULTILITH_TEST_FILE_MS: String(fileTimeoutMs),
    NODE_TEST_CONTEXT: undefined,
    // Hundreds of processes load the same code: each compiles only what none before it has.
    NODE_COMPILE_CACHE: join(toolchain, 'compiled'),
    // Brokers that live for seconds never earn back what the optimizing compiler costs: 1.1 s of CPU for a start, not 1.8.
    JDK_JAVA_OPTIONS: '-XX:TieredStopAtLevel=1',
  };
  return launch(node, [...runner(fileTimeoutMs), ...flags, ...files], env);
}

function runner(fileTimeoutMs) {
  return [
    '--enable-source-maps',
    '--import',
    script('file-deadline.mjs'),
    '--test',
    `--test-concurrency=${Math.ceil((availableParallelism ?? (() => cpus().length))() * filesPerCore)}`,
    `--test-timeout=${fileTimeoutMs}`,
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${script('nothing-skipped.mjs')}`,
    '--test-reporter-destination=stderr',
  ];
}

function script(name) {
  return pathToFileURL(join(root, 'scripts', name)).href;
}

function testFiles(kinds) {
  const found = [];
  const visit = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) visit(path);
      else if (entry.name.endsWith('.test.js')) found.push(path);
    }
  };
  for (const kind of kinds) if (existsSync(join(dist, 'test', kind))) visit(join(dist, 'test', kind));
  return found;
}

/** `test/unit/x.test.ts`, as the editor shows it, means the compiled file as well. */
function matches(file, part) {
  return relative(dist, file).includes(part.replace(/^\.?\//, '').replace(/^dist\//, '').replace(/\.ts$/, '.js'));
}
