// `npm start`: from a fresh clone to a loaded table. Everything after the build is `spillway start`.
import { join } from 'node:path';
import { bootstrap, root, run } from './bootstrap.mjs';

try {
  await bootstrap();
  await run(process.execPath, [join(root, 'bin', 'spillway.js'), 'start', ...process.argv.slice(2)], {
    cwd: process.cwd(),
  });
} catch (error) {
  // A program that ran has said itself what went wrong.
  if (error.ran !== true) console.error(error.message);
  process.exitCode = error.code === undefined || typeof error.code !== 'number' ? 1 : error.code;
}
