import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder, wherever the command was typed. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const dist = join(root, 'dist');
/** Where Node looks first for the packages that what lies in `dist` imports. */
export const bundledPackages = join(dist, 'node_modules');
/** What set-up keeps for itself; may be deleted at any time. */
export const toolchain = join(root, '.toolchain');
/** What the application needs, and what tests and bench need: folders of source, mirrored below `dist`. */
export const product = { name: 'product', folders: ['src', 'modules', 'adapters'], config: 'tsconfig.product.json' };
export const whole = { name: 'whole', folders: [...product.folders, 'test'], config: 'tsconfig.json' };
