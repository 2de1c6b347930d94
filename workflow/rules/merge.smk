rule merge:
    input:
        parents=lambda w: jobs(w).parent_files(w.subject, int(w.seed)),
        budget=lambda w: jobs(w).budget(w.subject, int(w.seed)) or [],
    output:
        weights=f"{RUN}/merge/{{subject}}/s{{seed}}/model.safetensors",
        trace=f"{RUN}/merge/{{subject}}/s{{seed}}/trace.csv",
        record=f"{RUN}/merge/{{subject}}/s{{seed}}/run.json",
    log:
        f"{RUN}/logs/merge/{{subject}}/s{{seed}}.log",
    priority: 1
    resources:
        **needs(lambda w: jobs(w).merge_need(w.subject, CONFIG.device)),
    params:
        arguments=lambda w: jobs(w).merge_arguments(w.subject),
        parents=lambda w: jobs(w).parents(w.subject, int(w.seed)),
        budget=lambda w, input: (
            f"--budget-of {shlex.quote(input.budget)}" if input.budget else ""
        ),
        out=lambda w, output: os.path.dirname(output.record),
        code=lambda w: jobs(w).code(w.subject),
    shell:
        "mergesuite merge {params.arguments} --parents {params.parents:q} {params.budget}"
        " --seed {wildcards.seed} --device {resources.device} --out {params.out:q} 2> {log:q}"


rule evaluate:
    input:
        lambda w: jobs(w).measured_files(w.group, int(w.seed)),
    output:
        csv=f"{RUN}/evaluate/{{group}}/s{{seed}}.csv",
        hits=f"{RUN}/evaluate/{{group}}/s{{seed}}.hits.safetensors",
    log:
        f"{RUN}/logs/evaluate/{{group}}/s{{seed}}.log",
    resources:
        **needs(lambda w: jobs(w).evaluate_need(w.group, CONFIG.device)),
    params:
        runs=lambda w: jobs(w).measured(w.group, int(w.seed)),
        population=lambda w: jobs(w).population(w.group),
        code=lambda w: jobs(w).evaluate_code(w.group),
    shell:
        "mergesuite evaluate --runs {params.runs:q} {params.population}"
        " --device {resources.device} --out {output.csv:q} 2> {log:q}"
