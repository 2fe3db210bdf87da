import { fileURLToPath } from 'node:url';
import { Connection } from '../../../adapters/bus/activemq/connection.ts';
import type { ActiveMqSettings } from '../../../adapters/bus/activemq/driver.ts';
import { systemClock } from '../../kernel/clock.ts';
import type { ServerProgram } from './local-server.ts';

/** Where Debian has what the broker is made of; what a star stands for may be anything. */
const JARS = ['/usr/share/activemq/lib/*', '/usr/share/activemq/lib/optional/*', '/usr/share/java/xstream.jar', '/usr/share/java/jettison.jar'];

/** A Debian package, and what shows that it is there. */
export interface Needed {
  readonly package: string;
  readonly file: string;
}

export const BROKER_NEEDS: readonly Needed[] = [
  { package: 'activemq', file: '/usr/share/activemq/lib/activemq-stomp.jar' },
  { package: 'libxstream-java', file: '/usr/share/java/xstream.jar' },
  { package: 'libjettison-java', file: '/usr/share/java/jettison.jar' },
];

const shipped = (name: string): string => fileURLToPath(new URL(`../../../../config/${name}`, import.meta.url));

export interface BrokerOptions {
  readonly port: number;
  /** Its messages, its log, and whatever else it writes. */
  readonly directory: string;
  /** Bytes that all messages together may take on disk; left out: what config/activemq.xml says. */
  readonly storeBytes?: number;
  /** Who may connect; left out: everybody who can reach it. */
  readonly user?: { readonly name: string; readonly password: string };
}

/** The shipped broker (config/activemq.xml) as a program and what it finds in its environment. */
export function brokerCommand({ port, directory, storeBytes, user }: BrokerOptions): Pick<ServerProgram, 'command' | 'env'> {
  const settings = { 'log4j.configuration': `file:${shipped('activemq-log4j.properties')}`, 'activemq.home': directory, 'activemq.base': directory, 'mq.data': directory, 'mq.port': port, ...(storeBytes !== undefined && { 'mq.store': storeBytes }) };
  const options = ['-Xms32m', '-Xmx256m', '-XX:+UseSerialGC', '-XX:+ExitOnOutOfMemoryError', ...Object.entries(settings).map(([name, value]) => `-D${name}=${value}`)];
  return {
    command: ['java', ...options, '-cp', JARS.join(':'), 'org.apache.activemq.console.Main', 'start', `xbean:file:${shipped('activemq.xml')}`],
    env: user === undefined ? {} : { 'mq.anonymous': 'false', 'mq.user': user.name, 'mq.password': user.password },
  };
}

/** The broker of a bus with these settings, on this machine. */
export function brokerOf(settings: ActiveMqSettings, directory: string, user: BrokerOptions['user']): ServerProgram {
  return {
    name: 'ActiveMQ',
    directory,
    // What it has confirmed stands that at any moment.
    endsMute: true,
    // Where nobody waited for the write, the broker goes on with an index that speaks of it (docs/decisions/2026-11-21-broker-on-a-full-disk.md).
    endsSaying: /Journal failed while writing/,
    ...brokerCommand({ port: settings.port, directory, ...(user !== undefined && { user }) }),
    answers: async () => {
      const { passwordFile: _, ...rest } = settings;
      const mine = { ...rest, connectTimeoutMs: 2_000, ...(user !== undefined && { username: user.name, password: user.password }) };
      return Connection.open(mine, systemClock).then(
        (connection) => {
          connection.close();
          return true;
        },
        () => false,
      );
    },
  };
}
