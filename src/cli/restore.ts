import { resolve } from 'node:path';
import { restore as restoreBackup } from '../app/backup/restore.ts';
import { parts } from '../app/parts.ts';
import { count } from '../app/plan/plan-text.ts';
import { EXIT, UsageError, type Command } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';

export const restore: Command = {
  name: 'restore',
  usage: 'FILE [options]',
  words: 1,
  details: `Makes an installation of a file that "multilith backup" has written, in the data directory and the databases of
the configuration, all of which must be empty. The storage may be another than the backup came from.

The file is read whole before anything is written, and every table is compared with it afterwards. What a restore
that was broken off has left is refused by every host; the next restore into it begins anew.

The copy starts with sending held, so that it does not repeat what the original has sent since: it takes events
and works, and mails wait. "multilith sending" says what would go out, "multilith sending release" lets it go.

Exit codes: 0 all of it is there · 1 refused or failed · 2 wrong option or configuration.`,
  options: { ...CONFIG_OPTIONS, json: { help: 'JSON for programs.' } },
  async run(args, io) {
    const [from] = args.words;
    if (from === undefined) throw new UsageError('restore needs to know what from: a file that "multilith backup" has written.');
    const config = loadConfig(args, io, parts);
    const asText = !args.flag('json');
    const restored = await restoreBackup({
      file: resolve(io.cwd, from),
      config,
      parts,
      now: new Date(),
      onTable: ({ database, table, rows }) => asText && rows > 0 && io.error(`${database}.${table}: ${count(rows, 'row')}`),
    });
    if (!asText) io.out(JSON.stringify(restored, undefined, 2));
    else {
      io.out(`${config.dataDir} holds all of ${restored.created}: ${count(restored.rows, 'row')}, compared with the backup.`);
      for (const name of restored.left) io.out(`Left out, since this topology has no use for it: ${name}.`);
      io.out('Sending is held. Start it, look at what would go out with "multilith sending", and let it go with "multilith sending release".');
    }
    return EXIT.ok;
  },
};
