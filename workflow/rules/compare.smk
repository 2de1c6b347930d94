rule collect:
    input:
        metrics=ask(lambda jobs, w: [f"{name}.csv" for name in jobs.metrics()]),
        hits=ask(
            lambda jobs, w: [f"{name}.hits.safetensors" for name in jobs.metrics()]
        ),
        records=ask(lambda jobs, w: [f"{name}.record.json" for name in jobs.metrics()]),
    output:
        runs=f"{RUN}/runs.csv",
        hits=f"{RUN}/runs.hits.safetensors",
        record=f"{RUN}/runs.record.json",
    log:
        f"{RUN}/logs/collect.log",
    params:
        where=where,
        code=digests.code("judge.collect"),
    shell:
        "mergesuite collect --paper {wildcards.paper} {params.where} 2> {log:q}"


rule compare:
    input:
        runs=f"{RUN}/runs.csv",
        hits=f"{RUN}/runs.hits.safetensors",
        record=f"{RUN}/runs.record.json",
        spec=lambda w: str(settings.folder_of(w.paper) / "paper.yaml"),
        reported=lambda w: str(settings.folder_of(w.paper) / "reported.csv"),
    output:
        verdicts=report(
            f"{RUN}/verdicts.csv",
            category="{paper}",
            caption="../report/verdicts.rst",
        ),
        document=f"{RUN}/verdicts.json",
        gains=f"{RUN}/gains.csv",
        leakage=f"{RUN}/leakage.csv",
        calibration=f"{RUN}/calibration.csv",
        controls=f"{RUN}/controls.csv",
        waterfall=f"{RUN}/waterfall.csv",
        trends=f"{RUN}/trends.csv",
        record=f"{RUN}/verdicts.record.json",
    log:
        f"{RUN}/logs/compare.log",
    params:
        where=where,
        code=digests.code("judge.compare"),
    shell:
        "mergesuite compare --paper {wildcards.paper} {params.where} 2> {log:q}"


rule tables:
    input:
        rules.compare.output,
    output:
        report(
            expand(
                f"{RESULTS}/{{{{profile}}}}/{{{{paper}}}}/tables/{{table}}.md",
                table=TABLES,
            ),
            category="{paper}",
            caption="../report/tables.rst",
        ),
        expand(
            f"{RESULTS}/{{{{profile}}}}/{{{{paper}}}}/tables/{{table}}.{{kind}}",
            table=TABLES,
            kind=["csv", "tex"],
        ),
        record=f"{RUN}/tables.record.json",
    log:
        f"{RUN}/logs/tables.log",
    params:
        where=where,
        code=digests.code("report.tables"),
    shell:
        "mergesuite tables --paper {wildcards.paper} {params.where} 2> {log:q}"


rule figures:
    input:
        rules.compare.output,
    output:
        **{
            figure: report(
                f"{RUN}/figures/{figure}.svg",
                category="{paper}",
                caption=f"../report/{figure}.rst",
            )
            for figure in FIGURES
        },
        pdf=expand(
            f"{RESULTS}/{{{{profile}}}}/{{{{paper}}}}/figures/{{figure}}.pdf",
            figure=FIGURES,
        ),
        record=f"{RUN}/figures.record.json",
    log:
        f"{RUN}/logs/figures.log",
    params:
        where=where,
        code=digests.code("report.figures"),
    shell:
        "mergesuite figures --paper {wildcards.paper} {params.where} 2> {log:q}"
