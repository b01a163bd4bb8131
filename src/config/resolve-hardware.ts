import type { HardwareProfile } from './profile-names.ts';
import { profileNumbers } from './hardware-profiles.ts';
import type { HostFacts } from './host-facts.ts';
import { scaleProfile } from './scale.ts';
import type { ResolvedHardware } from './resolved.ts';

/** Resolved hardware of a profile without any override, and the floors a scale ran into. */
export interface ProfiledHardware {
  readonly hardware: ResolvedHardware;
  /** Dotted key → why its value is not the profile's divided by the scale. */
  readonly because: Readonly<Record<string, string>>;
}

/** What a profile means on a host with these facts, divided by `scaleDivisor` (1: as it is). */
export function resolveHardware(profile: HardwareProfile, scaleDivisor: number, facts: HostFacts): ProfiledHardware {
  const { numbers, because } = scaleProfile(profileNumbers(profile, facts), scaleDivisor, facts);
  return {
    because,
    hardware: {
      profile,
      scaleDivisor,
      ramBytes: facts.ramBytes,
      physicalCores: facts.physicalCores,
      ...numbers,
    },
  };
}
