import { createLog } from '../app/host/log.ts';
import { parts } from '../app/parts.ts';
import { LocalServers } from '../app/servers/local-servers.ts';
import type { Command } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';
import { untilStopped } from './until-stopped.ts';

const STOP_MS = 8_000;

export const servers: Command = {
  name: 'servers',
  usage: '[options]',
  details: `Runs the servers that the topology names at addresses of this machine, without Multilith itself: an ActiveMQ broker
for its bus, ZooKeeper for its registry, PostgreSQL for storages with a passwordFile, with their roles and schemas.
Their data lies in the data directory; passwords, where the topology names files for them, are made at the first
start. One that dies is started again.

start --with-servers does the same for as long as the host runs. Use this to keep them running while hosts are
started anew, or before messages are moved to the broker (bus move).

Exit codes: 0 stopped in order · 1 could not start · 2 wrong option or configuration.`,
  options: CONFIG_OPTIONS,
  async run(args, io) {
    const config = loadConfig(args, io, parts);
    const log = createLog(config.log.level, process.stderr.isTTY === true);
    const servers = new LocalServers(config, log);
    const ended = untilStopped((deadlineMs) => servers.stop(deadlineMs), { deadlineMs: STOP_MS }, log, io);
    try {
      await servers.start();
      if (!ended.isStopping()) io.out(`Ready: ${servers.names.join(', ')}. Data: ${config.dataDir}`);
    } catch (error) {
      if (ended.isStopping()) return ended.code;
      await servers.stop(STOP_MS);
      log.flush();
      throw error;
    }
    return ended.code;
  },
};
