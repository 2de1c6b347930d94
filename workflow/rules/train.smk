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


# One rule for all trainings, written out once per model and group of seeds, like that of merge.smk.
for paper, jobs in JOBS.items():
    for model, seeds in jobs.trainings():

        rule:
            name:
                f"train_{paper}_{model}_{seeds[0]}"
            input:
                manifest=manifest(paper, model),
                start=[file for seed in seeds for file in jobs.start(model, seed)],
            output:
                [
                    f"{jobs.run(model, seed)}/{file}"
                    for seed in seeds
                    for file in ["model.safetensors", "curve.csv", "run.json"]
                ],
            log:
                f"{jobs.folder}/logs/train/{model}-s{seeds[0]}.log",
            conda:
                "../../environment.yml"
            threads: THREADS
            resources:
                gpu=min(GPUS, 1),
            params:
                arguments=jobs.train_arguments(model),
                start=lambda w, input: option("--start", input.start),
                seeds=seeds,
                out=lambda w, output: os.path.dirname(os.path.dirname(output[0])),
                device=CONFIG.device,
                code=plan.code_digest("train"),
            shell:
                "mergesuite train {params.arguments} {params.start} --seeds {params.seeds}"
                " --device {params.device} --out {params.out} 2> {log}"
