import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter } from 'node:path';
import { run } from './children.mjs';
import { Problem, lastLines, step } from './progress.mjs';

/** What tests and benches need beside npm packages: the Debian package, and the command that proves it is there. */
const programs = [
  { package: 'postfix', proof: 'command -v smtp-sink', neededFor: ['test', 'bench'] },
  { package: 'strace', proof: 'strace -V', neededFor: ['test'] },
  { package: 'xfsprogs', proof: 'mkfs.xfs -V', neededFor: ['test'] },
  { package: 'e2fsprogs', proof: 'mkfs.ext4 -V', neededFor: ['test'] },
  { package: 'mount', proof: 'command -v mount && command -v losetup', neededFor: ['test'] },
  { package: 'python3', proof: 'python3 -c "import email.policy"', neededFor: ['test'] },
  { package: 'python3-stomp', proof: '/usr/bin/python3 -c "import stomp"', neededFor: ['test'] },
  { package: 'default-jre-headless', proof: 'java -version', neededFor: ['test', 'bench'] },
  { package: 'libzookeeper-java', proof: 'test -e /usr/share/java/zookeeper.jar && test -e /usr/share/java/slf4j-simple.jar', neededFor: ['test'] },
  { package: 'activemq', proof: 'ls /usr/share/activemq/lib/activemq-broker.jar /usr/share/activemq/lib/activemq-stomp.jar', neededFor: ['test', 'bench'] },
  { package: 'libxstream-java', proof: 'test -e /usr/share/java/xstream.jar', neededFor: ['test', 'bench'] },
  { package: 'libjettison-java', proof: 'test -e /usr/share/java/jettison.jar', neededFor: ['test', 'bench'] },
  { package: 'redis-server', proof: 'redis-server --version', neededFor: ['test', 'bench'] },
  { package: 'openssl', proof: 'openssl version', neededFor: ['test'] },
  { package: 'memcached', proof: 'memcached -V', neededFor: ['test'] },
  { package: 'postgresql', proof: 'ls /usr/lib/postgresql/*/bin/initdb', neededFor: ['test', 'bench'] },
];

/** smtp-sink comes with postfix, which must neither be configured nor started for it. */
const preseed = ['postfix postfix/main_mailer_type select No configuration'];

const environment = {
  ...process.env,
  PATH: [process.env.PATH, '/usr/sbin', '/sbin'].join(delimiter),
  DEBIAN_FRONTEND: 'noninteractive',
};

/** Installs what is missing where that is ours to do; says what to install where it is not. */
export async function providePrograms(purpose) {
  const missing = await missingPrograms(purpose);
  if (missing.length === 0) return;
  const names = missing.map((entry) => entry.package).join(' ');
  const byHand = new Problem(`These Debian packages, or what they contain, are needed and missing: ${names}\nEach counts as present when its command succeeds:\n${missing.map((entry) => `  ${entry.proof}`).join('\n')}`, `On Debian, as root: apt-get install -y --no-install-recommends ${names}\nElsewhere install what provides those commands.`);
  if (!existsSync('/usr/bin/apt-get') || process.getuid?.() !== 0) throw byHand;
  await step(`Installing ${names} with apt-get`, () => withoutStartingServices(() => install(missing.map((entry) => entry.package))));
  const still = await missingPrograms(purpose);
  if (still.length > 0) throw new Problem(`apt-get succeeded, yet this still fails: ${still.map((entry) => entry.proof).join('; ')}`, byHand.remedy);
}

async function missingPrograms(purpose) {
  const missing = [];
  for (const entry of programs) {
    if (!entry.neededFor.includes(purpose)) continue;
    const { ok } = await run('sh', ['-c', entry.proof], { env: environment });
    if (!ok) missing.push(entry);
  }
  return missing;
}

/** Package lists are fetched only when installing without them fails (absent or outdated). Nothing is ever removed. */
async function install(names) {
  await run('sh', ['-c', 'printf "%s\\n" "$@" | debconf-set-selections', 'sh', ...preseed], { env: environment });
  const attempt = () => apt(['install', '-y', '--no-install-recommends', '--no-remove', ...names]);
  let result = await attempt();
  if (!result.ok) {
    const update = await apt(['update']);
    result = update.ok ? await attempt() : update;
  }
  if (!result.ok) throw new Problem(`apt-get failed:\n${lastLines(result.output, 20)}`, `Install these by hand and run the same command again: ${names.join(' ')}`);
}

function apt(args) {
  return run('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=3', ...args], { env: environment });
}

/** Debian asks this file before a package starts its service; 101 means "not now". */
async function withoutStartingServices(work) {
  const policy = '/usr/sbin/policy-rc.d';
  if (existsSync(policy)) return work();
  const remove = () => rmSync(policy, { force: true });
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  process.once('exit', remove);
  try {
    return await work();
  } finally {
    process.removeListener('exit', remove);
    remove();
  }
}
