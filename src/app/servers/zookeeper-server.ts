import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Needed } from './broker.ts';
import type { ServerProgram } from './local-server.ts';

/** Debian's; what else it needs its manifest names. */
const JARS = ['/usr/share/java/zookeeper.jar', '/usr/share/java/slf4j-simple.jar'];
const ANSWER_MS = 2_000;

export const ZOOKEEPER_NEEDS: readonly Needed[] = JARS.map((file) => ({ package: 'libzookeeper-java', file }));

export interface ZooKeeperOptions {
  readonly port: number;
  readonly directory: string;
  /** What its clock counts in; sessions last 2 to 20 of them. */
  readonly tickMs?: number;
}

/** One ZooKeeper server on loopback; writes its configuration into the directory. */
export function zooKeeperServer({ port, directory, tickMs = 1_000 }: ZooKeeperOptions): ServerProgram {
  const config = join(directory, 'zoo.cfg');
  const lines = { tickTime: tickMs, dataDir: directory, clientPort: port, clientPortAddress: '127.0.0.1', 'admin.enableServer': false, '4lw.commands.whitelist': 'ruok,mntr,cons', minSessionTimeout: 2 * tickMs, maxSessionTimeout: 60_000, maxClientCnxns: 0, preAllocSize: 4_096, 'autopurge.purgeInterval': 1 };
  writeFileSync(config, Object.entries(lines).map(([name, value]) => `${name}=${value}\n`).join(''));
  const options = ['-Xms16m', '-Xmx96m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-XX:+ExitOnOutOfMemoryError', '-Dzookeeper.jmx.log4j.disable=true', '-Dorg.slf4j.simpleLogger.defaultLogLevel=error'];
  return {
    name: 'ZooKeeper',
    directory,
    endsMute: true,
    command: ['java', ...options, '-cp', JARS.join(':'), 'org.apache.zookeeper.server.ZooKeeperServerMain', config],
    env: {},
    answers: () => isWell(port),
  };
}

/** By the four-letter word for it. */
function isWell(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.end('ruok'));
    socket.setEncoding('utf8').setTimeout(ANSWER_MS, () => socket.destroy());
    socket.on('data', (text: string) => (answer += text)).on('error', () => {}).on('close', () => resolve(answer === 'imok'));
  });
}
