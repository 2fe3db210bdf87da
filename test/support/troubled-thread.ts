import { runInThread } from '../../src/app/thread/inside.ts';
import { troubledParts } from './troubled.ts';

await runInThread(troubledParts);
