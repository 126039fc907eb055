"""The command line: every command of the product, in one form: --data, --json, exit codes 0, 1, 2.

Owns arguments and printing. Each command calls the function that the service itself calls.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from app import cli_ledger, cli_pull, cli_sketch
from app.kernel.errors import Problem
from app.kernel.postgres_files import DatabaseNotUsable
from app.settings import DEFAULT_PORT, data_folder
from app.terminal import LOCALE, Data, Json, err, finish, opened, out, pick

cli = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="政通 Zhengtong: 政务数据共享交换",
)


@cli.command()
def serve(
    data: Data = None,
    host: Annotated[str, typer.Option(help="监听地址 address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="端口 port; the gateway takes the next one")] = DEFAULT_PORT,
    gateway_port: Annotated[int | None, typer.Option(help="网关端口 port of the central gateway")] = None,
    public_url: Annotated[str | None, typer.Option(help="对外地址 URL under which others reach it")] = None,
    gateway_url: Annotated[
        str | None,
        typer.Option(help="中心网关的对外地址 URL under which requesters reach the central gateway"),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="装入样例城市并演示 load the sample city, play the story")
    ] = False,
) -> None:
    """启动全部服务。Run the whole exchange on this machine."""
    from app import serve as service
    from app.migrate import migrate as bring_up_to_date
    from app.processes import require_free
    from app.settings import keys_of, settings_from_environment

    folder = data_folder(data)
    own_gateway_port = gateway_port or port + 1
    url = public_url or f"http://{host}:{port}"
    for needed in (port, own_gateway_port):
        require_free(host, needed)
    with service.HeldDatabase(folder) as held:
        bring_up_to_date(held.url)
        settings = replace(
            settings_from_environment(folder, held.url),
            public_url=url,
            gateway_url=gateway_url or f"http://{host}:{own_gateway_port}",
        )
        keys_of(settings)
        if demo:
            from app.demo.serve import serve_demo

            serve_demo(settings, keep=held.keep, host=host, port=port, gateway_port=own_gateway_port, out=out)
            return
        with service.running(
            settings, keep=held.keep, host=host, port=port, gateway_port=own_gateway_port
        ) as supervisor:
            out.print(pick(f"政通已启动：{url}", f"Zhengtong is ready: {url}"))
            if not supervisor.has("gateway"):
                out.print(
                    pick(
                        "尚无主管部门，请另开终端运行 zhengtong bootstrap。",
                        "No authority yet: run zhengtong bootstrap in another terminal.",
                    )
                )
            service.watch(supervisor, settings, host=host, port=port, gateway_port=own_gateway_port)


@cli.command()
def worker(data: Data = None) -> None:
    """运行任务、期限、账本编号与检索索引。Run jobs, deadlines, the sequencer and the search index."""
    from app.processes import die_with_parent
    from app.settings import keys_of
    from app.worker import run_worker

    die_with_parent()
    with opened(data, migrated=False) as (settings, database):
        run_worker(settings, database, keys_of(settings))


@cli.command()
def gateway(
    centre: Annotated[str, typer.Option(help="中心地址 URL of the centre")],
    client_id: Annotated[str, typer.Option(help="网关的客户端标识 the gateway's client id")],
    key: Annotated[Path, typer.Option(help="私钥文件（PEM） private key file (PEM)")],
    data: Data = None,
    issuer: Annotated[str | None, typer.Option(help="令牌签发者，默认同中心 issuer of tokens")] = None,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option()] = DEFAULT_PORT + 1,
    url: Annotated[str | None, typer.Option(help="需求方访问本网关的地址 where requesters reach it")] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            envvar="ZHENGTONG_PROVIDER_FILES",
            help="提供方文件所在目录；默认不读文件 folder of providers' files; none by default",
        ),
    ] = None,
    networks: Annotated[
        str | None,
        typer.Option(
            envvar="ZHENGTONG_PROVIDER_NETWORKS",
            help="提供方所在的私有网络，如 10.1.0.0/16；默认不限 private networks of providers; any by default",
        ),
    ] = None,
    lost_touch_after: Annotated[
        float,
        typer.Option(min=1, help="与中心失联多少秒后停止交付 seconds without the centre until it stops"),
    ] = 60,
) -> None:
    """运行网关：只放行约定的内容。Run a gateway, which lets through what was agreed and nothing else."""
    from app.kernel.keys import load_private_jwk
    from app.kernel.outbound import EVERYWHERE
    from app.kernel.outbound import networks as read_networks
    from app.processes import die_with_parent
    from exchange.delivery.run import GatewaySettings, run_gateway

    die_with_parent()
    settings = GatewaySettings(
        centre=centre, issuer=issuer, client_id=client_id, key=load_private_jwk(key),
        data=data_folder(data), host=host, port=port, url=url, lost_touch_after_s=lost_touch_after,
        files=files,
        networks=EVERYWHERE if networks is None else read_networks(networks),
    )  # fmt: skip
    run_gateway(settings)


@cli.command()
def migrate(data: Data = None, as_json: Json = False) -> None:
    """把数据库升级到本版本。Bring the database to this release."""
    with opened(data):
        finish({"migrated": True}, [pick("数据库已是最新。", "The database is up to date.")], as_json=as_json)


@cli.command("rotate-keys")
def rotate_keys(
    data: Data = None,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="旧签名密钥立即作废 accept no earlier signing key from now on")
    ] = False,
    as_json: Json = False,
) -> None:
    """更换令牌签名密钥与封存密钥。Change the keys that sign tokens and those that seal credentials."""
    from app.operate import rotate_keys as rotate
    from app.settings import keys_of

    with opened(data) as (settings, database):
        sealed = rotate(database, keys_of(settings), at_once=at_once)
    lines = [pick(f"已更换密钥，重新封存 {sealed} 项。", f"Keys changed; {sealed} secrets sealed again.")]
    finish({"sealed_again": sealed}, lines, as_json=as_json)


@cli.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, help="CSV、data.json 或工作簿 files to import"),
    ],
    data: Data = None,
    agency: Annotated[
        str | None, typer.Option(help="全部归于该单位（代码） every row is this agency's")
    ] = None,
    mapping: Annotated[str | None, typer.Option(help="列映射名称 named column mapping, for CSV")] = None,
    jurisdiction: Annotated[
        str | None, typer.Option(help="新单位所属行政区划 where unknown agencies are registered")
    ] = None,
    as_state: Annotated[str, typer.Option("--as", help="draft | published")] = "published",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只预览 tell, change nothing")] = False,
    as_json: Json = False,
) -> None:
    """导入目录。Import catalogs; what cannot be read is listed row by row, what can is not lost."""
    from app.operate import import_files

    if as_state not in ("draft", "published"):
        raise typer.BadParameter("draft | published", param_hint="--as")
    with opened(data) as (_, database):
        quiet = as_json or not out.is_terminal
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=err, disable=quiet, transient=True) as progress:
            task = progress.add_task("")
            reports = import_files(
                database, files, agency=agency, mapping=mapping, jurisdiction=jurisdiction,
                as_state=as_state, dry_run=dry_run,  # type: ignore[arg-type]  # narrowed above
                progress=lambda name, rows: progress.update(task, description=f"{name}: {rows}"),
            )  # fmt: skip
    lines: list[str] = []
    for name, report in reports:
        lines += [f"{entry.place}: {pick(entry.message.zh, entry.message.en)}" for entry in report.notes]
        for entry in report.rejected_rows:
            lines += [
                f"{entry.place}: {f.field} {pick(f.message.zh, f.message.en)}"
                + (f" [{pick(f.rule.zh, f.rule.en)}]" if f.rule else "")
                for f in entry.faults
            ]
        lines.append(
            f"{name}: {pick('新增', 'new')} {report.new}, {pick('变更', 'changed')} {report.changed}, "
            f"{pick('未变', 'unchanged')} {report.unchanged}, {pick('拒收', 'rejected')} {report.rejected}, "
            f"{pick('附注', 'notes')} {len(report.notes)}, {pick('新登记单位', 'agencies registered')} {len(report.agencies_created)}"
        )
    rejected = sum(report.rejected for _, report in reports)
    result = {"files": [{"file": str(name), **report.model_dump(mode="json")} for name, report in reports]}
    finish(result, lines, as_json=as_json, ok=rejected == 0)


@cli.command()
def export(
    file: Annotated[Path, typer.Argument(help="写到该文件 file to write (.xlsx)")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """导出已发布目录为可再导入的工作簿。Export the published catalog as a workbook that imports again."""
    from app.operate import export_workbook

    with opened(data) as (_, database):
        count = export_workbook(database, file)
    finish({"resources": count, "file": str(file)}, [f"{file}: {count}"], as_json=as_json)


@cli.command()
def search(
    text: Annotated[str, typer.Argument(help="检索词 what to look for")],
    data: Data = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 10,
    as_json: Json = False,
) -> None:
    """检索已发布目录。Search the published catalog."""
    from app.operate import search_catalog

    with opened(data) as (settings, database):
        found, total, milliseconds = search_catalog(settings, database, text, limit)
    lines = [f"{row['code']}  {row['title']}  ({row['agency']})  {'、'.join(row['items'])}" for row in found]
    lines.append(pick(f"共 {total} 项，{milliseconds:.1f} 毫秒", f"{total} found in {milliseconds:.1f} ms"))
    finish(
        {"total": total, "milliseconds": milliseconds, "items": found}, lines, as_json=as_json, ok=total > 0
    )


@cli.command()
def reindex(data: Data = None, as_json: Json = False) -> None:
    """重建检索索引。Build the search index anew."""
    from catalog.search import indexing
    from catalog.search.index import CatalogIndex

    with opened(data) as (settings, database):
        count = indexing.reindex(database, CatalogIndex.open(settings.index))
    finish({"resources": count}, [str(count)], as_json=as_json)


@cli.command("audit-duplicates")
def audit_duplicates(
    data: Data = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="显示条数。How many of each are shown.")] = 50,
    engine: Annotated[str, typer.Option(help="duckdb | spark")] = "duckdb",
    master: Annotated[str, typer.Option(help="Spark: local[2], spark://host:7077")] = "local[2]",
    whole: Annotated[
        bool, typer.Option(help="全部重查，而不只查变化。All of it, not only what changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """在全目录中查找重复的信息项和资源，列入核查清单。Look through the catalog for what is held twice."""
    from app.operate import audit, audit_told

    if engine not in ("duckdb", "spark"):
        raise typer.BadParameter("duckdb | spark", param_hint="--engine")
    with opened(data) as (settings, database):
        report = audit(
            database,
            master=master if engine == "spark" else None,
            whole=whole,
            embeddings=settings.embeddings,
        )
    finish(
        *audit_told(report, limit), as_json=as_json, ok=not (report.audit.clusters or report.audit.resources)
    )


@cli.command()
def bootstrap(
    data: Data = None,
    login: Annotated[
        str, typer.Option(help="首位管理员登录名 login of the first administrator")
    ] = "security",
    authority: Annotated[str, typer.Option(help="主管部门名称 name of the authority")] = "信息化主管部门",
    jurisdiction: Annotated[str, typer.Option(help="行政区划代码 its division code")] = "100000",
    jurisdiction_name: Annotated[str, typer.Option(help="行政区划名称 its name, where it is new")] = "",
    as_json: Json = False,
) -> None:
    """建立主管部门与首位（安全）管理员，给出一次性口令；再次运行则换发口令。
    Make the authority and the first administrator, print a one-time secret; run again it issues another."""
    from app.operate import bootstrap as make

    with opened(data) as (_, database):
        secret = make(
            database,
            login=login,
            authority=authority,
            jurisdiction=jurisdiction,
            jurisdiction_name=jurisdiction_name,
        )
    lines = [
        pick(
            f"登录名 {login}，一次性口令 {secret}（24 小时内有效，仅显示这一次）",
            f"login {login}, one-time secret {secret} (24 hours, shown this once)",
        )
    ]
    finish({"login": login, "one_time_secret": secret}, lines, as_json=as_json)


@cli.command()
def backup(
    file: Annotated[Path, typer.Argument(help="备份文件 file to write")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """备份数据库（密钥目录须另行备份）。Back the database up; the keys folder is backed up apart."""
    from app.backup import dump

    with opened(data) as (_, database):
        dump(database.url, file)
    finish(
        {"file": str(file), "bytes": file.stat().st_size},
        [f"{file}: {file.stat().st_size} B"],
        as_json=as_json,
    )


@cli.command()
def restore(
    file: Annotated[Path, typer.Argument(exists=True, help="备份文件 file to read")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """把备份恢复到空数据目录。Restore a backup into an empty data folder."""
    from app.backup import load
    from app.migrate import migrate as bring_up_to_date
    from app.serve import open_database

    with open_database(data_folder(data)) as url:
        load(url, file)
        bring_up_to_date(url)
    finish({"restored": True}, [pick("已恢复。", "Restored.")], as_json=as_json)


@cli.command()
def demo(
    url: Annotated[
        str, typer.Option(help="服务地址 URL of a running service")
    ] = f"http://127.0.0.1:{DEFAULT_PORT}",
    data: Data = None,
    secrets: Annotated[
        Path | None, typer.Option(help="JSON：登录名→口令 login → secret, where the data folder is elsewhere")
    ] = None,
    as_json: Json = False,
) -> None:
    """在运行中的服务上演示全过程。Play the whole story over HTTP against a running service."""
    from app.demo.serve import play_against

    play_against(url, data=data, secrets=secrets, as_json=as_json, out=out)


@cli.command()
def calendar(
    file: Annotated[Path, typer.Argument(help="JSON: year, off, work")],
    name: Annotated[str, typer.Option(help="工作日历 calendar")] = "cn",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """导入一年的放假安排，重新计算暂定期限。Import a year's arrangement; provisional deadlines are counted again."""
    import json

    from app.identity.calendars_api import Arrangement, publish_year
    from app.kernel.actor import system_actor

    try:
        read = json.loads(file.read_text("utf-8"))
        year, arrangement = int(read.pop("year")), Arrangement.model_validate(read)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        err.print(f"{file}: {error}", markup=False)
        raise typer.Exit(2) from error
    with opened(data) as (_, database), database.transaction() as session:
        moved = publish_year(session, name, year, arrangement, by=system_actor("operator"))
    told = pick(
        f"{name} {year} 年已导入，{moved} 个期限改变。", f"{name} {year} imported; {moved} deadlines moved."
    )
    finish({"calendar": name, "year": year, "moved": moved}, [told], as_json=as_json)


@cli.command()
def doctor(data: Data = None, as_json: Json = False) -> None:
    """检查运行环境。Check what this installation stands on."""
    from app.operate import examine

    with opened(data) as (settings, database):
        facts = examine(settings, database)
    faults = [name for name, fact in facts.items() if not fact["ok"]]
    if not as_json:
        table = Table("", "", "")
        for name, fact in facts.items():
            table.add_row("✓" if fact["ok"] else "✗", name, str(fact["value"]))
        out.print(table)
    finish(facts, [], as_json=as_json, ok=not faults)


@cli.command()
def openapi() -> None:
    """打印接口描述。Print the OpenAPI document."""
    from app.generate import openapi_document

    sys.stdout.write(openapi_document())


cli.command("pull")(cli_pull.pull)
cli.command("gather")(cli_pull.gather)
cli.command("verify-ledger")(cli_ledger.verify_ledger)
cli.command("verify-proof")(cli_ledger.verify_proof)
cli.command("witness")(cli_ledger.witness)
cli.command("erase-names")(cli_ledger.erase_names)
cli.command("sketch")(cli_sketch.sketch)
cli.command("overlap")(cli_sketch.overlap)


def main() -> None:
    """Run the command line; a refusal is told in one line and leaves with 1, misuse with 2."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        cli()
    except Problem as problem:
        err.print(problem.detail.in_(LOCALE), markup=False)
        for fault in problem.faults:
            err.print(f"  {fault.field}: {fault.message.in_(LOCALE)}", markup=False)
        raise SystemExit(1) from None
    except DatabaseNotUsable as error:
        err.print(error.text.in_(LOCALE), markup=False)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
