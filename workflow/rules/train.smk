rule data:
    output:
        f"{ROOT}/data/{{slug}}.json",
    log:
        f"{ROOT}/logs/data/{{slug}}.log",
    conda:
        "../../environment.yml"
    params:
        data=lambda w: plan.data_arguments(MANIFESTS[w.slug]),
        code=plan.code_digest("data"),
    shell:
        "mergesuite data {params.data} --out {output} 2> {log}"


rule train:
    input:
        manifest=lambda w: manifest(w.paper, w.model),
        start=lambda w: job(w).start(w.model, int(w.seed)),
    output:
        weights=f"{ROOT}/{{paper}}/train/{{model}}/s{{seed}}/model.safetensors",
        curve=f"{ROOT}/{{paper}}/train/{{model}}/s{{seed}}/curve.csv",
        run=f"{ROOT}/{{paper}}/train/{{model}}/s{{seed}}/run.json",
    log:
        f"{ROOT}/{{paper}}/logs/train/{{model}}-s{{seed}}.log",
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        gpu=min(GPUS, 1),
    params:
        arguments=lambda w: job(w).train_arguments(w.model),
        start=lambda w, input: option("--start", input.start),
        out=lambda w, output: os.path.dirname(output.run),
        device=CONFIG.device,
        code=lambda w: job(w).code("train"),
    shell:
        "mergesuite train {params.arguments} {params.start} --seed {wildcards.seed}"
        " --device {params.device} --out {params.out} 2> {log}"
