import { join } from 'node:path';
import type { ResolvedConfig } from '../../config/resolved.ts';
import type { TransformModule } from './transform-job.ts';

/** The module of the user's transforms, if one is configured; what it compiles to is kept in the home. */
export const transformModule = ({
  transforms,
  home,
}: Pick<ResolvedConfig, 'transforms' | 'home'>): TransformModule | undefined =>
  transforms === undefined ? undefined : { module: transforms, compiledIn: join(home, 'run', 'compiled') };
