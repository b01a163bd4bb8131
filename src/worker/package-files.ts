import { fileURLToPath } from 'node:url';

const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const folder = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const at = (path: string): string => folder(`${path}${extension}`);

/** Modules of this package that the worker bundles for the workflow isolate, and the program that does it. */
export const packageFiles = {
  interceptor: at('src/sdk/interceptor'),
  registered: at('workflows/index'),
  memoryPool: at('workflows/memory-pool'),
  bundleProcess: at('src/worker/bundle-process'),
  /** Folders that the pool's workflow imports from. */
  poolFolders: [folder('workflows'), folder('src/contracts'), folder('src/policy')],
} as const;
