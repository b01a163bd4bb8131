/**
 * Versions of the parts, and how each download is verified. Go modules are verified by `provision/temporal-cli/go.sum`, wheels
 * by the hashes in `provision/python/`, npm packages by `provision/postgres/package-lock.json`, Debian packages by apt's
 * signatures; what Maven brings is verified by the sums here.
 */
export const PINS = {
  temporalCli: '1.8.2',
  /** Oldest `temporal` on PATH that is taken: its server knows task queue priorities without a switch. */
  oldestTemporalCli: [1, 7] as const,
  /** Go of the wheel that builds it where the host has none. */
  go: '1.26.4',
  trino: 476,
  /** Java that Trino 476 needs. */
  oldestJava: 24,
  /** Oldest PostgreSQL whose server-side features the loads use. */
  oldestPostgres: 14,
  /** Major version of the image in rendered compose and Quadlet files. */
  postgresImage: 18,
  embeddedPostgres: '18.4.0-beta.17',
  datafusion: '55.0.0',
  /** Counts up when the recipe of the base image, or of the runner without one, changes. */
  imageRecipe: 2,
} as const;

/** One Maven artifact of Trino, with the SHA-256 of the file. */
export interface MavenArtifact {
  readonly artifact: string;
  readonly file: string;
  readonly sha256: string;
  /** Folder below `plugin/`; absent for the server itself, which carries the resource group manager already. */
  readonly plugin?: string;
}

const trino = PINS.trino;

/** What a Trino server of ours is put together from. */
export const TRINO_ARTIFACTS: readonly MavenArtifact[] = [
  {
    artifact: `io.trino:trino-server-core:${trino}:tar.gz`,
    file: `trino-server-core-${trino}.tar.gz`,
    sha256: '0f388f9967c177ae70a47c099082fc95387f0c3cb96d8000d1d41fc3a5223158',
  },
  {
    artifact: `io.trino:trino-tpch:${trino}:zip`,
    file: `trino-tpch-${trino}.zip`,
    sha256: 'd83467efe864b1e77013208c293835e197bc3135318c2895521c1efbb7f232bd',
    plugin: 'tpch',
  },
  {
    artifact: `io.trino:trino-memory:${trino}:zip`,
    file: `trino-memory-${trino}.zip`,
    sha256: 'bade81c52e2f7177a7b867aee1b10fae48fefda9c38f3ec6aeb006fdde5f0378',
    plugin: 'memory',
  },
  {
    artifact: `io.trino:trino-hive:${trino}:zip`,
    file: `trino-hive-${trino}.zip`,
    sha256: '611bacdb07d9f3cf7b9d47f97ecc76fa2e7ff8bfe8a9728c3d06adc1bfb8662e',
    plugin: 'hive',
  },
];

/** Debian packages of the runner's image on Debian 12: Python 3.11 and what it and the wheels link to. */
export const IMAGE_PACKAGES: readonly string[] = [
  'libc6',
  'libpython3.11-minimal',
  'libpython3.11-stdlib',
  'python3.11-minimal',
  'libexpat1',
  'zlib1g',
  'libssl3',
  'libffi8',
  'liblzma5',
  'libbz2-1.0',
  'libgcc-s1',
  'libstdc++6',
  'libuuid1',
];

/** Search attributes that steps of a run are found by; all of type Keyword. */
export const SEARCH_ATTRIBUTES: readonly string[] = ['SpillwayPool', 'SpillwayState', 'SpillwayStep'];
