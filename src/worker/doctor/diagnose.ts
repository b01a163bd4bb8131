import { hostname } from 'node:os';
import { planFacts } from '../../config/plan-facts.ts';
import { PROFILE_RAM } from '../../config/hardware-profiles.ts';
import type { ResolvedConfig } from '../../config/resolved.ts';
import type { DoctorReport, Finding } from '../../contracts/doctor.ts';
import { examineHost } from '../../policy/doctor/host.ts';
import { examineScratch } from '../../policy/doctor/scratch.ts';
import { examinePostgres, examineTemporal, examineTrino } from '../../policy/doctor/servers.ts';
import type { SecretReader } from '../engines.ts';
import { examineDirectories } from './read-directories.ts';
import { readHost } from './read-host.ts';
import { readScratch } from './read-scratch.ts';
import { readPostgres, readTemporal, readTrino } from './read-servers.ts';

/** Looks at this host and every configured part; changes nothing. Takes some seconds, most of them a trial container's. */
export async function diagnose(config: ResolvedConfig, readSecret: SecretReader): Promise<DoctorReport> {
  const { hardware } = config;
  const wants = {
    profile: hardware.profile,
    profileRamBytes: (PROFILE_RAM[hardware.profile] ?? hardware.ramBytes) / hardware.scaleDivisor,
    poolBytes: hardware.poolBytes,
    partitions: hardware.datafusion.partitions,
    rowsInMemoryBytes: Math.floor(config.handoff.arrowAbove * planFacts(config, undefined).lendableBytes),
  };
  const groups = await Promise.all([
    readHost(config).then((host) => examineHost(host, wants)),
    readScratch(config.scratch).then((scratch) => examineScratch(scratch, hardware.scratchBytes)),
    examineDirectories(config, readSecret),
    readTemporal(config).then(examineTemporal),
    ...Object.entries(config.trino).map(async ([name, trino]) => examineTrino(name, await readTrino(trino, config))),
    ...Object.entries(config.postgres).map(async ([name, postgres]) =>
      examinePostgres(name, await readPostgres(postgres, config, readSecret)),
    ),
  ]);
  const findings = [...groups.flat(), ...absent(config)];
  return { host: hostname(), verdict: worst(findings), findings };
}

/** Parts that nobody named and `spillway up` did not start. */
function absent({ trino, postgres, runtime }: ResolvedConfig): Finding[] {
  const missing = [
    ...(Object.keys(trino).length === 0 ? ['Trino'] : []),
    ...(Object.keys(postgres).length === 0 ? ['PostgreSQL'] : []),
    ...(runtime.image === '' ? ['DataFusion image'] : []),
  ];
  return missing.map((check) => ({ check, verdict: 'fail', because: 'none is configured or started', mend: 'spillway up' })); // prettier-ignore
}

function worst(findings: readonly Finding[]): DoctorReport['verdict'] {
  if (findings.some(({ verdict }) => verdict === 'fail')) return 'fail';
  return findings.some(({ verdict }) => verdict !== 'ok') ? 'warn' : 'ok';
}
