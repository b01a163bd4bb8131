/** Names of the hardware profiles. */
export const HARDWARE_PROFILES = ['auto', 'ram-8', 'ram-16', 'ram-32', 'ram-64', 'ram-128', 'epyc-768'] as const;
export type HardwareProfile = (typeof HARDWARE_PROFILES)[number];
