rule collect:
    input:
        metrics=metrics,
        hits=hits,
    output:
        runs=f"{ROOT}/{{paper}}/runs.csv",
        hits=f"{ROOT}/{{paper}}/runs.hits.safetensors",
    log:
        f"{ROOT}/{{paper}}/logs/collect.log",
    conda:
        "../../environment.yml"
    shell:
        "mergesuite collect {input.metrics} --out {output.runs} 2> {log}"


rule compare:
    input:
        runs=f"{ROOT}/{{paper}}/runs.csv",
        hits=f"{ROOT}/{{paper}}/runs.hits.safetensors",
        spec="replications/{paper}/paper.yaml",
        reported="replications/{paper}/reported.csv",
    output:
        verdicts=f"{ROOT}/{{paper}}/verdicts.csv",
        gains=f"{ROOT}/{{paper}}/gains.csv",
        leakage=f"{ROOT}/{{paper}}/leakage.csv",
    log:
        f"{ROOT}/{{paper}}/logs/compare.log",
    conda:
        "../../environment.yml"
    params:
        where=WHERE,
        code=plan.code_digest("compare"),
    shell:
        "mergesuite compare --paper {wildcards.paper} {params.where} 2> {log}"


rule tables:
    input:
        rules.compare.output,
    output:
        expand(
            f"{ROOT}/{{{{paper}}}}/tables/{{table}}.{{kind}}",
            table=TABLES,
            kind=["csv", "md", "tex"],
        ),
    log:
        f"{ROOT}/{{paper}}/logs/tables.log",
    conda:
        "../../environment.yml"
    params:
        where=WHERE,
        code=plan.code_digest("tables"),
    shell:
        "mergesuite tables --paper {wildcards.paper} {params.where} 2> {log}"


rule figures:
    input:
        rules.compare.output,
    output:
        report(
            expand(f"{ROOT}/{{{{paper}}}}/figures/{{figure}}.svg", figure=FIGURES),
            category="{paper}",
            caption="../report/figures.rst",
        ),
        expand(f"{ROOT}/{{{{paper}}}}/figures/{{figure}}.pdf", figure=FIGURES),
    log:
        f"{ROOT}/{{paper}}/logs/figures.log",
    conda:
        "../../environment.yml"
    params:
        where=WHERE,
        code=plan.code_digest("figures"),
    shell:
        "mergesuite figures --paper {wildcards.paper} {params.where} 2> {log}"
