import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder, wherever the command was typed. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const dist = join(root, 'dist');
/** What set-up keeps for itself; may be deleted at any time. */
export const toolchain = join(root, '.toolchain');
/** The folders that hold source, mirrored below `dist`. */
export const sourceFolders = ['src', 'modules', 'adapters', 'test'];
