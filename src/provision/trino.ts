import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ResolvedHardware } from '../config/resolved.ts';
import { jvmOptions, renderTrino } from '../render/trino.ts';
import type { Environment } from './command.ts';
import type { Java } from './java.ts';
import { PINS } from './pins.ts';
import type { Places } from './places.ts';
import type { ServerPlan } from './server-part.ts';
import { STOP_ORDERS } from './stop-orders.ts';
import { probeTrino } from './trino-probe.ts';

/** A Trino server of this home, rendered from the hardware profile; heavy queries run one at a time in it. */
export function trinoPlan(
  places: Places,
  parts: { server: string; java: Java; hardware: ResolvedHardware; scratch: string; env: Environment },
): ServerPlan {
  const { server, java, scratch } = parts;
  const etc = join(places.etc, 'trino');
  const data = join(places.data, 'trino');
  const tmp = join(places.tmp, 'trino');
  const render = (hardware: ResolvedHardware, httpPort: number): Record<string, string> =>
    renderTrino(hardware, {
      version: PINS.trino,
      httpPort,
      nodeId: 'spillway-1',
      etcDir: etc,
      dataDir: data,
      pluginDir: join(server, 'plugin'),
      scratch,
      tmpDir: tmp,
    });
  // What a running server must have been started with. Not the spill limits: they follow the free disk, and spilling is off.
  const lasting = { ...parts.hardware, trino: { ...parts.hardware.trino, spillBytes: 0 } };
  return {
    part: 'trino',
    title: `Trino ${PINS.trino}`,
    found: 'fetched',
    settings: { server, java: java.home, files: render(lasting, 0), etcLink: true },
    ports: { http: 8080 },
    stop: STOP_ORDERS.trino,
    // 12 s on a quiet host; more than a minute was seen on a loaded one.
    readyWithinMs: 180_000,
    async prepare(ports) {
      for (const directory of [data, tmp, scratch, join(scratch, 'trino-spill')]) {
        mkdirSync(directory, { recursive: true, mode: 0o700 });
      }
      const files = render(parts.hardware, ports['http'] ?? 0);
      rmSync(etc, { recursive: true, force: true });
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(dirname(join(etc, name)), { recursive: true });
        writeFileSync(join(etc, name), text, { mode: 0o600 });
      }
      // Trino looks for its resource groups in `etc` below the working directory; its launcher makes the same link.
      rmSync(join(data, 'etc'), { recursive: true, force: true });
      symlinkSync(etc, join(data, 'etc'));
      // Java itself, not the launcher: that one needs a Python and a process more.
      const node = jvmOptions(files['node.properties'] ?? '').map((line) => `-D${line}`);
      return {
        command: join(java.home, 'bin', 'java'),
        args: [
          ...['-cp', join(server, 'lib', '*'), ...jvmOptions(files['jvm.config'] ?? ''), ...node],
          ...[`-Dconfig=${join(etc, 'config.properties')}`, 'io.trino.server.TrinoServer'],
        ],
        cwd: data,
        env: { PATH: parts.env['PATH'] ?? '', HOME: places.home, TMPDIR: tmp, LANG: 'C.UTF-8' },
      };
    },
    probe: (ports) => probeTrino(`http://127.0.0.1:${ports['http']}`, 'select count(*) from tpch.tiny.region'),
  };
}
