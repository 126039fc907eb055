"""`python -m bench [search] [imports] [commands] [negotiations] [ledger] [gateway] [bulk] [console] [duplicates] [queries]`: the named benchmarks, or all, each on a database of its own."""

from __future__ import annotations

import argparse

from bench import bulk, commands, console, duplicates, gateway, imports, ledger, negotiations, queries, search
from bench.measure import machine, own_database, own_folder, own_server, server_version

NAMES = (
    "search",
    "imports",
    "commands",
    "negotiations",
    "ledger",
    "gateway",
    "bulk",
    "console",
    "duplicates",
    "queries",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument(
        "--resources", type=int, default=20_000, help="search, imports, queries: resources generated"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="commands, negotiations: how long each is repeated"
    )
    parser.add_argument("--entries", type=int, default=30_000, help="ledger: entries appended")
    parser.add_argument("--tree", type=int, default=1_000_000, help="ledger: entries of the simulated tree")
    parser.add_argument("--rounds", type=int, default=3, help="gateway: how often each is measured")
    parser.add_argument("--only", nargs="*", default=gateway.RIVALS, help="gateway: which of its rivals")
    parser.add_argument("--rows", type=int, default=300_000, help="bulk: rows of the table")
    parser.add_argument("--negotiations", type=int, default=2_000, help="console: negotiations")
    parser.add_argument(
        "--checked", type=int, default=5_000, help="duplicates: resources of 20 items in the check"
    )
    parser.add_argument("--audited", type=int, default=5_000, help="duplicates: resources that are audited")
    parser.add_argument("--embeddings", action="store_true", help="duplicates: with likeness in meaning")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    print(machine())
    with own_folder() as folder, own_server(folder) as server:
        print(server_version(server))
        for name in asked.names or NAMES:
            with own_database(server, f"bench_{name}") as database:
                match name:
                    case "search":
                        search.run(database, folder, resources=asked.resources, seconds=asked.seconds)
                    case "imports":
                        imports.run(database, resources=asked.resources)
                    case "commands":
                        commands.run(database, seconds=asked.seconds)
                    case "negotiations":
                        negotiations.run(database, seconds=asked.seconds)
                        with own_database(server, "bench_seeing") as another:
                            negotiations.run_seeing(another, seconds=asked.seconds)
                    case "gateway":
                        gateway.run(
                            folder,
                            database.url,
                            seconds=asked.seconds,
                            rounds=asked.rounds,
                            only=tuple(asked.only),
                        )
                    case "bulk":
                        bulk.run(database, folder, rows=asked.rows)
                    case "console":
                        console.run(
                            database, folder, resources=asked.resources, negotiations=asked.negotiations,
                            entries=asked.tree, rounds=asked.rounds * 7,
                        )  # fmt: skip
                    case "queries":
                        queries.run(database, resources=asked.resources)
                    case "duplicates":
                        duplicates.run(
                            server,
                            resources=asked.checked,
                            audited=asked.audited,
                            embeddings=asked.embeddings,
                        )
                    case "ledger":
                        ledger.run(database, entries=asked.entries)
                        with own_database(server, "bench_tree") as another:
                            ledger.run_large(another, entries=asked.tree)


if __name__ == "__main__":
    main()
