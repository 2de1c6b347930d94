rule merge:
    input:
        ask(lambda jobs, w: jobs.merge_files(w.subject, int(w.seed))),
    output:
        weights=f"{RUN}/merge/{{subject}}/s{{seed}}/model.safetensors",
        trace=f"{RUN}/merge/{{subject}}/s{{seed}}/trace.csv",
        record=f"{RUN}/merge/{{subject}}/s{{seed}}/run.json",
    log:
        f"{RUN}/logs/merge/{{subject}}/s{{seed}}.log",
    priority: 1
    resources:
        **needs(lambda jobs, w: jobs.merge_need(w.subject, CONFIG.device)),
    params:
        arguments=ask(lambda jobs, w: jobs.merge_arguments(w.subject, int(w.seed))),
        code=ask(lambda jobs, w: jobs.code(w.subject)),
    shell:
        "mergesuite merge {params.arguments} --seed {wildcards.seed}"
        f" --out {RUN_QUOTED}/merge/{{wildcards.subject}}/s{{wildcards.seed}} > {{log:q}} 2>&1"


rule evaluate:
    input:
        ask(lambda jobs, w: jobs.measured_files(w.group, int(w.seed))),
    output:
        csv=f"{RUN}/evaluate/{{group}}/s{{seed}}.csv",
        hits=f"{RUN}/evaluate/{{group}}/s{{seed}}.hits.safetensors",
        record=f"{RUN}/evaluate/{{group}}/s{{seed}}.record.json",
    log:
        f"{RUN}/logs/evaluate/{{group}}/s{{seed}}.log",
    resources:
        **needs(lambda jobs, w: jobs.evaluate_need(w.group, CONFIG.device)),
    params:
        arguments=ask(lambda jobs, w: jobs.evaluate_arguments(w.group, int(w.seed))),
        code=ask(lambda jobs, w: jobs.evaluate_code(w.group)),
    shell:
        "mergesuite evaluate {params.arguments}" " --out {output.csv:q} > {log:q} 2>&1"
