"""What the entry point of trinodb/trino does: reads /etc/trino, links it below the data directory, becomes Java."""

import os

ETC, HOME = "/etc/trino", "/usr/lib/trino"


def lines(name):
    with open(f"{ETC}/{name}") as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]


node = lines("node.properties")
data = dict(line.split("=", 1) for line in node)["node.data-dir"]
os.makedirs(data, exist_ok=True)
if not os.path.lexists(f"{data}/etc"):
    os.symlink(ETC, f"{data}/etc")
os.makedirs("/scratch/trino-spill", exist_ok=True)
os.chdir(data)
options = lines("jvm.config") + [f"-D{line}" for line in node] + [f"-Dconfig={ETC}/config.properties"]
java = "/usr/lib/jvm/bin/java"
os.execv(java, [java, "-cp", f"{HOME}/lib/*", *options, "io.trino.server.TrinoServer"])
