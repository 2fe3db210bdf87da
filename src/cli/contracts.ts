import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { contractFiles, SCHEMA_FILE, SCHEMA_FOLDERS } from '../app/contracts/files.ts';
import { didYouMean } from '../app/config/suggest.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import { workerQueues } from '../app/config/worker-queues.ts';
import { parts } from '../app/parts.ts';
import { EXIT, UsageError, type Command } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';

export const contracts: Command = {
  name: 'contracts',
  usage: 'export [--out DIR] [options]',
  words: 1,
  details: `Writes down what the modules ask of each other, for programs in any language:

  asyncapi.json     an AsyncAPI 3.0 document: every queue and event with its address, who sends and who
                    receives, headers and payloads; on a bus that programs of other languages reach, also
                    the queues that are handed out to them, and how they answer
  contracts.json    every operation of every contract: kind, time-out, faults
  messages/         a JSON Schema for the payload of each message
  operations/       a JSON Schema for the request and the answer of each operation

The addresses are those of the bus that the topology names. The same build and topology write the same
bytes, so that two exports can be compared. Schemas of an earlier export that are no more are removed.
Starts and opens nothing.

Exit codes: 0 done · 1 the folder cannot be written · 2 wrong option or configuration.`,
  options: {
    ...CONFIG_OPTIONS,
    out: { value: 'DIR', help: 'Where to; made when it is not there. Default: contracts' },
    json: { help: 'JSON for programs: the folder and the files.' },
  },
  async run(args, io) {
    const [action] = args.words;
    if (action !== 'export') throw new UsageError(`${action === undefined ? 'contracts needs to know what to do.' : `There is no "contracts ${action}".${didYouMean(action, ['export'])}`} There is: export.`);
    const { bus } = loadConfig(args, io, parts);
    const wire = parts.bus[bus.driver]!.wire?.(bus.settings);
    const files = contractFiles(parts.modules, wire && { wire, workers: workerQueues(bus, parts) });
    const folder = resolve(io.cwd, args.text('out') ?? 'contracts');
    try {
      write(folder, files);
    } catch (error) {
      throw new BootProblem(`The contracts cannot be written to ${folder} (${(error as NodeJS.ErrnoException).code}).`, 'Name another folder with --out.', error);
    }
    io.out(args.flag('json') ? JSON.stringify({ folder, files: [...files.keys()] }, undefined, 2) : `${files.size} files in ${folder}.`);
    return EXIT.ok;
  },
};

function write(folder: string, files: ReadonlyMap<string, string>): void {
  for (const part of SCHEMA_FOLDERS) {
    mkdirSync(join(folder, part), { recursive: true });
    for (const file of readdirSync(join(folder, part))) if (file.endsWith(SCHEMA_FILE) && !files.has(`${part}/${file}`)) rmSync(join(folder, part, file));
  }
  for (const [path, text] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
}
