rule data:
    output:
        f"{RESULTS}/{{profile}}/data/{{slug}}.json",
    log:
        f"{RESULTS}/{{profile}}/logs/data/{{slug}}.log",
    params:
        data=lambda w: planning.data_arguments(manifests(w.profile)[w.slug]),
        code=lambda w: planning.data_code(manifests(w.profile)[w.slug]),
    shell:
        "mergesuite data {params.data} --out {output:q} 2> {log:q}"


rule train:
    input:
        ask(lambda jobs, w: jobs.train_files(w.model, int(w.seed))),
    output:
        weights=f"{RUN}/train/{{model}}/s{{seed}}/model.safetensors",
        epochs=directory(f"{RUN}/train/{{model}}/s{{seed}}/epochs"),
        curve=f"{RUN}/train/{{model}}/s{{seed}}/curve.csv",
        record=f"{RUN}/train/{{model}}/s{{seed}}/run.json",
    log:
        f"{RUN}/logs/train/{{model}}/s{{seed}}.log",
    priority: 2
    resources:
        **needs(lambda jobs, w: jobs.train_need(w.model, CONFIG.device)),
    params:
        arguments=ask(lambda jobs, w: jobs.train_arguments(w.model, int(w.seed))),
        code=ask(lambda jobs, w: jobs.code(w.model)),
    shell:
        "mergesuite train {params.arguments} --seed {wildcards.seed}"
        f" --out {RUN_QUOTED}/train/{{wildcards.model}}/s{{wildcards.seed}} > {{log:q}} 2>&1"
