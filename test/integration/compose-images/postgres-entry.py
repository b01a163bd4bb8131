"""What the entry point of the postgres image does: a cluster at the first start, by the POSTGRES_ variables, then the server."""

import os
import shlex
import subprocess
import sys

BIN, HOME, DATA = "/usr/lib/postgresql/bin", "/var/lib/postgresql", "/var/lib/postgresql/data"
UID = 999

os.makedirs(DATA, mode=0o700, exist_ok=True)
os.makedirs("/var/run/postgresql", mode=0o777, exist_ok=True)
for path in (HOME, DATA, "/var/run/postgresql"):
    os.chown(path, UID, UID)
os.setgid(UID)
os.setuid(UID)
env = {"PATH": f"{BIN}:/usr/bin", "LANG": "C", "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
if not os.path.exists(f"{DATA}/PG_VERSION"):
    user = os.environ["POSTGRES_USER"]
    with open(f"{HOME}/password", "w") as file:
        file.write(os.environ["POSTGRES_PASSWORD"])
    subprocess.run(
        [f"{BIN}/initdb", "-D", DATA, "-U", user, f"--pwfile={HOME}/password", "-A", "scram-sha-256",
         *shlex.split(os.environ.get("POSTGRES_INITDB_ARGS", ""))],
        check=True, env=env,
    )  # fmt: skip
    os.unlink(f"{HOME}/password")
    with open(f"{DATA}/pg_hba.conf", "a") as file:
        file.write("host all all all scram-sha-256\n")
    with open(f"{DATA}/postgresql.conf", "a") as file:
        file.write("listen_addresses = '*'\n")
    subprocess.run(
        [f"{BIN}/postgres", "--single", "-j", "-D", DATA, "postgres"],
        input=f'create database "{os.environ["POSTGRES_DB"]}";\n\n'.encode(), check=True, env=env,
    )  # fmt: skip
os.execve(f"{BIN}/postgres", ["postgres", "-D", DATA, *sys.argv[2:]], env)
