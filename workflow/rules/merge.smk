# One rule for all methods, written out once per subject and group of seeds: a process pays for
# importing torch and loading data once per group (see seeds_per_job in workflow/config.yaml).
for paper, jobs in JOBS.items():
    for name, subjects, seeds in jobs.merges():

        rule:
            name:
                f"merge_{paper}_{name}_{seeds[0]}"
            input:
                parents=[
                    f"{os.path.dirname(file)}/run.json"
                    for subject in subjects
                    for seed in seeds
                    for file in jobs.parents(subject, seed)
                ],
                budget=[
                    file
                    for subject in subjects
                    for seed in seeds
                    for file in jobs.budget(subject, seed)
                ],
            output:
                [
                    f"{jobs.run(subject, seed)}/{file}"
                    for subject in subjects
                    for seed in seeds
                    for file in ["model.safetensors", "trace.csv", "run.json"]
                ],
            log:
                f"{jobs.folder}/logs/merge/{name}-s{seeds[0]}.log",
            priority: jobs.urgency(subjects[0])
            conda:
                "../../environment.yml"
            threads: THREADS
            resources:
                gpu=min(GPUS, 1),
            params:
                command=jobs.merge_command(subjects, seeds),
                code=jobs.merge_code(subjects),
            shell:
                "mergesuite {params.command} 2> {log}"


for paper, jobs in JOBS.items():
    for group, seeds in jobs.evaluations():

        rule:
            name:
                f"evaluate_{paper}_{group}_{seeds[0] if seeds else 'all'}"
            input:
                jobs.evaluated(group, seeds),
            output:
                csv=f"{jobs.metrics(group, seeds)}.csv",
                hits=f"{jobs.metrics(group, seeds)}.hits.safetensors",
            log:
                f"{jobs.folder}/logs/evaluate/{os.path.basename(jobs.metrics(group, seeds))}.log",
            conda:
                "../../environment.yml"
            threads: THREADS
            resources:
                gpu=min(GPUS, 1),
            params:
                runs=jobs.folders(group),
                population=option("--population", jobs.population(group)),
                seeds=option("--seeds", map(str, seeds)),
                device=CONFIG.device,
                code=plan.code_digest("evaluate"),
            shell:
                "mergesuite evaluate --runs {params.runs} {params.population} {params.seeds}"
                " --device {params.device} --out {output.csv} 2> {log}"
