localrules:
    check,


rule report:
    input:
        lambda w: expand(
            f"{RESULTS}/{w.profile}/{{paper}}/figures/{{figure}}.svg",
            paper=shown(w),
            figure=FIGURES,
        ),
        lambda w: expand(
            f"{RESULTS}/{w.profile}/{{paper}}/tables/{{table}}.md",
            paper=shown(w),
            table=TABLES,
        ),
    output:
        f"{RESULTS}/{{profile}}/report/{{page}}.html",
    log:
        f"{RESULTS}/{{profile}}/logs/report/{{page}}.log",
    params:
        where=where,
        papers=shown,
        code=digests.code("report.page"),
        templates=digests.contents("report/templates"),
    shell:
        "mergesuite report --papers {params.papers} {params.where} --out {output:q} 2> {log:q}"


rule check:
    input:
        expand(f"{RESULTS}/{CONFIG.profile}/{{paper}}/runs.csv", paper=PAPERS),
    log:
        f"{RESULTS}/{CONFIG.profile}/logs/check.log",
    params:
        papers=PAPERS,
        where=f"--profile {CONFIG.profile} --results {shlex.quote(RESULTS)}",
    shell:
        "mergesuite check --papers {params.papers} {params.where} 2>&1 | tee {log:q}"


# Targets, not stages: `snakemake --cores all mega` makes the page of one paper.
for paper in settings.papers_there():

    rule:
        name:
            paper
        input:
            f"{RESULTS}/{CONFIG.profile}/report/{paper}.html",
        localrule: True
