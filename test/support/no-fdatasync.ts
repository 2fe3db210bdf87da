import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

/** Loaded before a program (`node --import`): what it means to bring to the disk stays in memory, and it is not told. */
const pretend = (_file: number, done: (error: null) => void): void => void setImmediate(done, null);
fs.fdatasync = Object.assign(pretend, { __promisify__: fs.fdatasync.__promisify__ });
syncBuiltinESMExports();
