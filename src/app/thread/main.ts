import { parts } from '../parts.ts';
import { runInThread } from './inside.ts';

await runInThread(parts);
