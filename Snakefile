# mergesuite: data -> train -> merge -> evaluate -> collect -> compare -> tables, figures -> report.
#
# `snakemake --cores all` runs every paper at the profile of workflow/config.yaml;
# `snakemake --cores all mega --config profile=smoke` runs one of them at another.
from snakemake.utils import min_version

min_version("9.19")


configfile: "workflow/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/report.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        f"{ROOT}/report/index.html",
