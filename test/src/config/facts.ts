import type { HostFacts } from '../../../src/config/host-facts.ts';
import { GiB } from '../../../src/policy/sizes.ts';

/** A host with 24 GiB and two cores, as the tests of rendering and of the configuration take it. */
export const SMALL_HOST: HostFacts = { ramBytes: 24 * GiB, physicalCores: 2, freeDiskBytes: 75 * GiB };

/** The reference machine. */
export const REFERENCE_HOST: HostFacts = { ramBytes: 768 * GiB, physicalCores: 16, freeDiskBytes: 3500 * GiB };
