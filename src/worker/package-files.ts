import { fileURLToPath } from 'node:url';

const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const at = (path: string): string => fileURLToPath(new URL(`../../${path}${extension}`, import.meta.url));

/** Modules of this package that the worker bundles for the workflow isolate. */
export const packageFiles = {
  interceptor: at('src/sdk/interceptor'),
  registered: at('workflows/index'),
  memoryPool: at('workflows/memory-pool'),
} as const;
