# One rule for all methods, written out once per subject and group of seeds: a process pays for
# importing torch and loading data once per group (see seeds_per_job in workflow/config.yaml).
for paper, jobs in JOBS.items():
    for subject, seeds in jobs.merges(CONFIG.seeds_per_job):

        rule:
            name:
                f"merge_{paper}_{subject}_{seeds[0]}"
            input:
                parents=[
                    f"{os.path.dirname(file)}/run.json"
                    for seed in seeds
                    for file in jobs.parents(subject, seed)
                ],
                budget=[file for seed in seeds for file in jobs.budget(subject, seed)],
            output:
                [
                    f"{jobs.run(subject, seed)}/{file}"
                    for seed in seeds
                    for file in ["model.safetensors", "trace.csv", "run.json"]
                ],
            log:
                f"{jobs.folder}/logs/merge/{subject}-s{seeds[0]}.log",
            conda:
                "../../environment.yml"
            threads: THREADS
            resources:
                gpu=min(GPUS, 1),
            params:
                arguments=jobs.merge_arguments(subject),
                parents=[file for seed in seeds for file in jobs.parents(subject, seed)],
                budget=lambda w, input: option("--budget-of", input.budget),
                seeds=seeds,
                out=lambda w, output: os.path.dirname(os.path.dirname(output[0])),
                device=CONFIG.device,
                code=jobs.code("merge", subject),
            shell:
                "mergesuite merge {params.arguments} --parents {params.parents} {params.budget}"
                " --seeds {params.seeds} --device {params.device} --out {params.out} 2> {log}"


rule evaluate:
    input:
        lambda w: [
            f"{run}/run.json"
            for subject in job(w).measured()[w.group]
            for run in job(w).runs(subject)
        ],
    output:
        f"{ROOT}/{{paper}}/evaluate/{{group}}.csv",
    log:
        f"{ROOT}/{{paper}}/logs/evaluate/{{group}}.log",
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        gpu=min(GPUS, 1),
    params:
        runs=lambda w: job(w).folders(w.group),
        population=lambda w: option("--population", job(w).population(w.group)),
        device=CONFIG.device,
        code=plan.code_digest("evaluate"),
    shell:
        "mergesuite evaluate --runs {params.runs} {params.population}"
        " --device {params.device} --out {output} 2> {log}"
