import { mkdirSync, statSync } from 'node:fs';

/** How a module of others is imported. */
export interface ModuleImport {
  /** Names that mean files of ours, wherever the module lies. */
  readonly alias: Readonly<Record<string, string>>;
  /** Folder where what the module compiles to is kept, by its content. @defaultValue it is compiled each time */
  readonly compiledIn?: string | undefined;
  /** Evaluated at each call, with what it imports. @defaultValue false */
  readonly anew?: boolean;
}

/**
 * Imports a module of others, TypeScript or not, by the loader that the whole package uses; answers what it exports. Compiling takes 0.2 s, most of
 * it for loading the compiler, so what comes of it is kept.
 * @throws what the module throws, and what compiling it throws
 */
export async function importModule(
  file: string,
  { alias, compiledIn, anew = false }: ModuleImport,
): Promise<Record<string, unknown>> {
  const { createJiti } = await import('jiti');
  const imported = (fsCache: string | false): Promise<Record<string, unknown>> =>
    createJiti(file, { fsCache, moduleCache: !anew, interopDefault: true, alias: { ...alias } }).import(file);
  return imported(compiledIn !== undefined && isOurs(compiledIn) && compiledIn).catch(
    (error: NodeJS.ErrnoException) => {
      // It is no fault of the module that nothing can be kept of it.
      if (!['ENOSPC', 'EDQUOT'].includes(error.code ?? '')) throw error;
      return imported(false);
    },
  );
}

/** What a module exports by default; a module without a default export, whole. */
export async function importDefault(file: string, how: ModuleImport): Promise<unknown> {
  const module = (await importModule(file, how)) as Record<string, unknown> | undefined;
  return module?.['default'] ?? module;
}

/** Whether the folder, made if it is not there, is written by its owner alone: what lies in it is run. */
function isOurs(folder: string): boolean {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 }); // as the whole home is
    const { uid, mode } = statSync(folder);
    return uid === process.getuid?.() && (mode & 0o022) === 0;
  } catch {
    return false;
  }
}
