# One rule for all methods, written out once per subject and group of seeds: a process pays for
# importing torch and loading data once per group (see seeds_per_job in workflow/config.yaml).
for paper, jobs in JOBS.items():
    for subject, seeds in jobs.merges():

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
            priority: jobs.urgency(subject)
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


for paper, jobs in JOBS.items():
    for group, seeds in jobs.evaluations():

        rule:
            name:
                f"evaluate_{paper}_{group}_{seeds[0]}"
            input:
                [
                    f"{jobs.run(subject, seed)}/run.json"
                    for subject in jobs.measured()[group]
                    for seed in seeds
                ],
            output:
                csv=f"{jobs.folder}/evaluate/{group}-s{seeds[0]}.csv",
                hits=f"{jobs.folder}/evaluate/{group}-s{seeds[0]}.hits.safetensors",
            log:
                f"{jobs.folder}/logs/evaluate/{group}-s{seeds[0]}.log",
            conda:
                "../../environment.yml"
            threads: THREADS
            resources:
                gpu=min(GPUS, 1),
            params:
                runs=jobs.folders(group),
                population=option("--population", jobs.population(group)),
                seeds=seeds,
                device=CONFIG.device,
                code=plan.code_digest("evaluate"),
            shell:
                "mergesuite evaluate --runs {params.runs} {params.population}"
                " --seeds {params.seeds} --device {params.device} --out {output.csv} 2> {log}"
