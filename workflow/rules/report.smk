localrules:
    check,


# One target per paper: `snakemake --cores all mega`.
for paper in JOBS:

    rule:
        name:
            paper
        input:
            expand(f"{ROOT}/{paper}/figures/{{figure}}.svg", figure=FIGURES),
            expand(f"{ROOT}/{paper}/tables/{{table}}.md", table=TABLES),
        localrule: True


rule report:
    input:
        expand(
            f"{ROOT}/{{paper}}/figures/{{figure}}.svg",
            paper=CONFIG.papers,
            figure=FIGURES,
        ),
        expand(
            f"{ROOT}/{{paper}}/tables/{{table}}.md", paper=CONFIG.papers, table=TABLES
        ),
    output:
        f"{ROOT}/report/index.html",
    log:
        f"{ROOT}/logs/report.log",
    conda:
        "../../environment.yml"
    params:
        where=WHERE,
        papers=CONFIG.papers,
        code=plan.code_digest("report"),
    shell:
        "mergesuite report --papers {params.papers} {params.where} --out {output} 2> {log}"


rule check:
    input:
        expand(f"{ROOT}/{{paper}}/runs.csv", paper=CONFIG.papers),
    log:
        f"{ROOT}/logs/check.log",
    conda:
        "../../environment.yml"
    params:
        where=WHERE,
        papers=CONFIG.papers,
    shell:
        "mergesuite check --papers {params.papers} {params.where} 2>&1 | tee {log}"
