import { build, isBuilt } from './build.mjs';
import { stopChildren } from './children.mjs';
import { withLock } from './lock.mjs';
import { findNode, provideNode } from './node.mjs';
import { installLocked, isInstalled } from './npm.mjs';
import { root } from './paths.mjs';
import { step } from './progress.mjs';

/** Brings a clone, fresh or not, to where a part of it (`product` or `whole`) can run; returns the Node to run it with. */
export async function setUp(part) {
  if (!isReady(part)) {
    const onSignal = (signal) => void stopChildren(signal).then(() => process.exit(signal === 'SIGINT' ? 130 : 143));
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
    await withLock(() => makeReady(part));
    process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal);
  }
  return findNode();
}

function isReady(part) {
  return findNode() !== undefined && isInstalled(root) && isBuilt(part);
}

async function makeReady(part) {
  await provideNode();
  if (!isInstalled(root)) await step('Installing dependencies from package-lock.json', () => installLocked(root));
  await build(findNode(), part);
}
