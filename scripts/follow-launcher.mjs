// Preloaded by launch.mjs. The application has a process group of its own, so killing the launcher outright
// (kill -9, a closed container shell) would leave it behind: it stops itself, in order, when its launcher is gone.
import { isMainThread } from 'node:worker_threads';
import { onParentGone } from './parent.mjs';

// Workers and the application's own children inherit both flag and environment; they are not the launcher's child.
if (isMainThread && process.ppid === Number(process.env.MULTILITH_LAUNCHER)) onParentGone(() => process.kill(process.pid, 'SIGTERM'));
