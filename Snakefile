# The workflow lies in workflow/, where its catalogue looks for it; `all` is its default target.
include: "workflow/Snakefile"


rule default:
    input:
        rules.all.input,
    localrule: True
