// Run by the build with the Node that the product runs on: of packages that consist of hundreds of files and are read
// at every start it makes one file each. Node finds those before the packages themselves, so nothing else knows of them;
// where they are missing, the packages are read.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { bundledPackages, root } from './paths.mjs';

/** Those whose loading takes 25 ms less of a processor then. They are imported by these names only, never by a path below them. */
const packages = ['inversify', 'kysely', 'mjml', 'prom-client', 'yaml', 'zod'];
/** Changes what it finds for all who load it, so that there must be one of it. */
const external = ['reflect-metadata'];

/** What a CommonJS file finds around it, and the ES module that it becomes does not. */
const asCommonJs = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url), __filename = import.meta.filename, __dirname = import.meta.dirname;";

/** A file that hands on by name whatever the package exports, of whatever kind of module it is. */
const wholePackages = {
  name: 'whole packages',
  setup({ onResolve, onLoad }) {
    // From a file with this extension it takes `default` as Node does: all that a CommonJS module exports.
    onResolve({ filter: /./ }, ({ path, kind }) => (kind === 'entry-point' ? { path: `${path}.mjs`, namespace: 'whole', pluginData: path } : undefined));
    onLoad({ filter: /./, namespace: 'whole' }, async ({ pluginData: name }) => {
      const names = Object.keys(await import(name)).filter((each) => /^[\w$]+$/.test(each) && each !== '__esModule');
      // The whole of a CommonJS module, under the name that Node gives to who asks for it by `require`.
      const whole = names.includes('default') ? `import all from '${name}'; const whole = all; export { whole as 'module.exports' };` : '';
      return { contents: `${whole} export { ${names.join(', ')} } from '${name}';`, resolveDir: root };
    });
  },
};

/** Cheerio, which MJML reads HTML with, could fetch pages by undici. Nothing asks it to, and loading that takes a quarter of what loading MJML takes. */
const withoutFetching = {
  name: 'without fetching',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^undici$/ }, ({ importer }) => (/[\\/]cheerio[\\/]/.test(importer) ? { path: 'undici', namespace: 'nothing' } : undefined));
    onLoad({ filter: /./, namespace: 'nothing' }, () => ({ contents: 'module.exports = {};' }));
  },
};

rmSync(bundledPackages, { recursive: true, force: true });
await build({
  entryPoints: packages.map((name) => ({ in: name, out: `${name}/index` })),
  outdir: bundledPackages,
  chunkNames: '.shared/[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: `node${process.versions.node}`,
  keepNames: true,
  external,
  plugins: [wholePackages, withoutFetching],
  banner: { js: asCommonJs },
  logLevel: 'error',
});
for (const name of packages) {
  const { version } = JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8'));
  mkdirSync(join(bundledPackages, name), { recursive: true });
  writeFileSync(join(bundledPackages, name, 'package.json'), JSON.stringify({ name, version, type: 'module', exports: './index.js' }));
}
